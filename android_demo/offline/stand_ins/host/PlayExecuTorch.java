import dev.edgeexport.core.PlayReal;
import dev.edgeexport.sdk.ExecuTorchEngine;
import java.io.File;

/** What PlayReal does, with the SDK's engine: the library, a plan, a folder for WAVs and records. */
class PlayExecuTorch {
    public static void main(String[] words) {
        System.setProperty("edge.program", words[0]);
        PlayReal.INSTANCE.play(new ExecuTorchEngine(), new File(words[1]), new File(words[2]));
    }
}
