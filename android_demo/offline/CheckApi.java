import java.io.File;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import org.codehaus.mojo.animal_sniffer.ClassListBuilder;
import org.codehaus.mojo.animal_sniffer.SignatureChecker;
import org.codehaus.mojo.animal_sniffer.logging.PrintWriterLogger;

/** SIGNATURES JAR LIBRARY...: ends with 1 if JAR uses what neither SIGNATURES nor itself nor a library has. */
class CheckApi {
    public static void main(String[] arguments) throws Exception {
        PrintWriterLogger logger = new PrintWriterLogger(System.out);
        ClassListBuilder own = new ClassListBuilder(logger);
        own.setCheckJars(true);
        for (int index = 1; index < arguments.length; index++) {
            own.process(new File(arguments[index]));
        }
        try (InputStream signatures = Files.newInputStream(Path.of(arguments[0]))) {
            SignatureChecker checker = new SignatureChecker(signatures, own.getPackages(), logger);
            checker.setSourcePath(List.of());
            checker.setAnnotationTypes(Set.of("android.annotation.TargetApi")); // asks for the version before it calls
            checker.setCheckJars(true);
            checker.process(new File(arguments[1]));
            System.exit(checker.isSignatureBroken() ? 1 : 0);
        }
    }
}
