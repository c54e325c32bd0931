import com.android.apksig.ApkSigner;
import com.android.apksig.ApkVerifier;
import java.io.File;
import java.io.FileInputStream;
import java.io.InputStream;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.X509Certificate;
import java.util.List;

/**
 * IN OUT KEYSTORE ALIAS PASSWORD MIN_SDK: signs an APK, with what is stored in it aligned, and verifies what was
 * written; or APK MIN_SDK: verifies alone. Prints the schemes that hold, and ends with 1 if there is a fault.
 */
class SignApk {
    private static final int PAGE_BYTES = 16384;

    public static void main(String[] arguments) throws Exception {
        int minSdk = Integer.parseInt(arguments[arguments.length - 1]);
        if (arguments.length == 2) {
            verify(new File(arguments[0]), minSdk);
            return;
        }
        File out = new File(arguments[1]);
        new ApkSigner.Builder(List.of(signer(arguments[2], arguments[3], arguments[4].toCharArray())))
            .setInputApk(new File(arguments[0]))
            .setOutputApk(out)
            .setMinSdkVersion(minSdk)
            .setV1SigningEnabled(false)
            .setV2SigningEnabled(true)
            .setV3SigningEnabled(true)
            .setLibraryPageAlignmentBytes(PAGE_BYTES)
            .build()
            .sign();
        verify(out, minSdk);
    }

    private static ApkSigner.SignerConfig signer(String path, String alias, char[] password) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        try (InputStream data = new FileInputStream(path)) {
            store.load(data, password);
        }
        PrivateKey key = (PrivateKey) store.getKey(alias, password);
        X509Certificate certificate = (X509Certificate) store.getCertificate(alias);
        return new ApkSigner.SignerConfig.Builder(alias, key, List.of(certificate)).build();
    }

    private static void verify(File apk, int minSdk) throws Exception {
        ApkVerifier.Result result = new ApkVerifier.Builder(apk).setMinCheckedPlatformVersion(minSdk).build().verify();
        result.getErrors().forEach(System.err::println);
        result.getWarnings().forEach(System.err::println);
        boolean strong = result.isVerifiedUsingV2Scheme() || result.isVerifiedUsingV3Scheme();
        if (!result.isVerified() || !strong || !result.getErrors().isEmpty() || !result.getWarnings().isEmpty()) {
            System.exit(1);
        }
        System.out.println((result.isVerifiedUsingV2Scheme() ? "v2 " : "") + (result.isVerifiedUsingV3Scheme() ? "v3" : ""));
    }
}
