import org.gradle.process.ExecOperations
import org.jetbrains.kotlin.gradle.dsl.JvmTarget
import javax.inject.Inject

plugins {
    alias(libs.plugins.android.application)
    alias(libs.plugins.kotlin.android)
}

android {
    namespace = "dev.edgeexport.demo"
    compileSdk = libs.versions.compile.sdk.get().toInt()
    defaultConfig {
        applicationId = "dev.edgeexport.demo"
        minSdk = libs.versions.min.sdk.get().toInt()
        targetSdk = libs.versions.target.sdk.get().toInt()
        versionCode = 1
        versionName = "0.1.0"
        ndk { abiFilters += listOf("arm64-v8a", "x86_64") }
    }
    buildTypes {
        release {
            isMinifyEnabled = true
            isShrinkResources = true
            proguardFiles(getDefaultProguardFile("proguard-android-optimize.txt"))
        }
    }
    compileOptions {
        sourceCompatibility = JavaVersion.toVersion(libs.versions.jvm.target.get())
        targetCompatibility = JavaVersion.toVersion(libs.versions.jvm.target.get())
    }
    androidResources { noCompress += "pte" }
    testOptions.unitTests {
        isIncludeAndroidResources = true
        all { test ->
            val fixtures = layout.settingsDirectory.dir("../tests/fixtures")
            test.inputs.dir(fixtures)
            test.systemProperty("edge.fixtures", fixtures.asFile.path)
        }
    }
}

kotlin {
    jvmToolchain(libs.versions.jdk.get().toInt())
    compilerOptions {
        allWarningsAsErrors = true
        progressiveMode = true
        jvmTarget = JvmTarget.fromTarget(libs.versions.jvm.target.get())
    }
}

dependencies {
    implementation(project(":sdk"))

    testImplementation(libs.robolectric)
    testImplementation(libs.junit4)
}

/** The built-in model's bundle as the assets' folder `bundle`: what the app plays at once. */
abstract class BuildBundle @Inject constructor(private val processes: ExecOperations) : DefaultTask() {
    /** The command of this repository's Python package; `-Pedge.export=PATH` names another. */
    @get:Input
    abstract val command: Property<String>

    @get:OutputDirectory
    abstract val assets: DirectoryProperty

    @TaskAction
    fun build() {
        val bundle = assets.get().dir("bundle").asFile
        bundle.deleteRecursively()
        processes.exec { commandLine(command.get(), "build", "--target", "android-arm64", "--out", bundle.path) }
    }
}

val buildBundle = tasks.register<BuildBundle>("buildBundle") {
    command = providers.gradleProperty("edge.export").orElse("edge-export")
}

androidComponents.onVariants { variant ->
    variant.sources.assets?.addGeneratedSourceDirectory(buildBundle, BuildBundle::assets)
}
