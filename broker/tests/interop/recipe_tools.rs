//! How Kafka's own tools, Streams and Connect are fetched and run.

use crate::toolchain::Recipe;

pub(crate) static TOOLS: Recipe = Recipe {
    folder: "java-tools",
    needs: &[&["java", "-version"], &["mvn", "-v"]],
    build: &[&["mvn", "-q", "-B", "package"]],
    run: &[
        "java",
        "-Xmx512m",
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=off",
        "-cp",
        "./target/interop-tools-1.jar:./target/libs/*",
        "tools.Runner",
    ],
};
