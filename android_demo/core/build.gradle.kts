import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    `java-library`
    alias(libs.plugins.kotlin.jvm)
}

java {
    sourceCompatibility = JavaVersion.toVersion(libs.versions.jvm.target.get())
    targetCompatibility = JavaVersion.toVersion(libs.versions.jvm.target.get())
}

kotlin {
    jvmToolchain(libs.versions.jdk.get().toInt())
    explicitApi()
    compilerOptions {
        allWarningsAsErrors = true
        progressiveMode = true
        jvmTarget = JvmTarget.fromTarget(libs.versions.jvm.target.get())
        freeCompilerArgs.add("-Xjdk-release=${libs.versions.jvm.target.get()}")
    }
}

dependencies {
    api(libs.kotlinx.coroutines.core)
    implementation(libs.kotlinx.serialization.json)

    testImplementation(platform(libs.junit.bom))
    testImplementation(libs.junit.jupiter)
    testImplementation(libs.jna)
    testRuntimeOnly(libs.junit.platform.launcher)
}

tasks.test {
    useJUnitPlatform()
    maxHeapSize = "512m"
    val fixtures = layout.settingsDirectory.dir("../tests/fixtures")
    inputs.dir(fixtures)
    systemProperty("edge.fixtures", fixtures.asFile.path)
}
