import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    alias(libs.plugins.android.library)
    alias(libs.plugins.kotlin.android)
    `maven-publish`
}

group = "dev.edgeexport"
version = "0.1.0"

android {
    namespace = "dev.edgeexport.sdk"
    compileSdk = libs.versions.compile.sdk.get().toInt()
    defaultConfig {
        minSdk = libs.versions.min.sdk.get().toInt()
        consumerProguardFiles("consumer-rules.pro")
    }
    compileOptions {
        sourceCompatibility = JavaVersion.toVersion(libs.versions.jvm.target.get())
        targetCompatibility = JavaVersion.toVersion(libs.versions.jvm.target.get())
    }
    testOptions.unitTests.isIncludeAndroidResources = true
    publishing {
        singleVariant("release") { withSourcesJar() }
    }
}

kotlin {
    jvmToolchain(libs.versions.jdk.get().toInt())
    explicitApi()
    compilerOptions {
        allWarningsAsErrors = true
        progressiveMode = true
        jvmTarget = JvmTarget.fromTarget(libs.versions.jvm.target.get())
    }
}

dependencies {
    api(project(":core"))
    implementation(libs.executorch.android)

    testImplementation(libs.robolectric)
    testImplementation(libs.junit4)
}

publishing.publications.register<MavenPublication>("release") {
    artifactId = "edge-export-sdk"
    pom {
        name = "edge-export for Android"
        description = "Plays ARC text-to-audio bundles on Android, offline"
        licenses {
            license {
                name = "Apache-2.0"
                url = "https://www.apache.org/licenses/LICENSE-2.0"
            }
        }
    }
    afterEvaluate { from(components["release"]) }
}
