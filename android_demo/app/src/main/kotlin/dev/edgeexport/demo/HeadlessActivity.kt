package dev.edgeexport.demo

import android.app.Activity
import android.content.Intent
import android.os.Bundle
import android.view.WindowManager

/**
 * Starts a run without a screen: `am start -n dev.edgeexport.demo/.HeadlessActivity --es run RUN`. It shows that one is
 * going on, which keeps the process alive, and ends with the last. Only whoever may dump the system's state may start
 * it: the shell.
 */
internal class HeadlessActivity : Activity() {
    private var running = 0

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.headless)
        window.addFlags(WindowManager.LayoutParams.FLAG_KEEP_SCREEN_ON)
        // What is restored had a run that died with its process.
        if (savedInstanceState == null) begin(intent) else finishAndRemoveTask()
    }

    override fun onNewIntent(intent: Intent) {
        super.onNewIntent(intent)
        begin(intent)
    }

    private fun begin(intent: Intent) {
        val job = (application as DemoApplication).headless.start(intent.getStringExtra("run"))
        running++
        if (job == null) end() else job.invokeOnCompletion { runOnUiThread(::end) }
    }

    private fun end() {
        running--
        if (running == 0) finishAndRemoveTask()
    }
}
