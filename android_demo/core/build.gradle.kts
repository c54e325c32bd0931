import org.jetbrains.kotlin.gradle.dsl.JvmTarget

plugins {
    `java-library`
    `maven-publish`
    alias(libs.plugins.kotlin.jvm)
}

group = "dev.edgeexport"
version = "0.1.0"

java {
    withSourcesJar()
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

publishing.publications.register<MavenPublication>("release") {
    artifactId = "edge-export-core"
    from(components["java"])
    pom {
        name = "edge-export in plain Kotlin"
        description = "The runtime of ARC text-to-audio bundles, but for an engine"
        licenses {
            license {
                name = "Apache-2.0"
                url = "https://www.apache.org/licenses/LICENSE-2.0"
            }
        }
    }
}

tasks.test {
    useJUnitPlatform()
    maxHeapSize = "512m"
    val fixtures = layout.settingsDirectory.dir("../tests/fixtures")
    inputs.dir(fixtures)
    systemProperty("edge.fixtures", fixtures.asFile.path)
}
