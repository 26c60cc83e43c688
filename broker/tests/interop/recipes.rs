//! How the client programs that several test binaries use are built and run.

use crate::toolchain::Recipe;

pub(crate) static JAVA: Recipe = Recipe {
    folder: "java",
    needs: &[&["java", "-version"], &["mvn", "-v"]],
    build: &[&["mvn", "-q", "-B", "package"]],
    run: &[
        "java",
        "-Xmx512m",
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-cp",
        "./target/interop-java-1.jar:./target/libs/*",
        "interop.Main",
    ],
};

pub(crate) static FRANZ: Recipe = Recipe {
    folder: "go-franz",
    needs: &[&["go", "version"]],
    build: &[&["go", "build", "-mod=readonly", "-o", "interop-go-franz", "."]],
    run: &["./interop-go-franz"],
};

pub(crate) static PYTHON: Recipe = Recipe {
    folder: "python",
    needs: &[&["python3", "-c", "import venv, ensurepip"]],
    build: &[
        &["python3", "-m", "venv", "venv"],
        &[
            "venv/bin/pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            "--only-binary",
            ":all:",
            "--require-hashes",
            "-r",
            "requirements.txt",
        ],
    ],
    run: &["./venv/bin/python", "./main.py"],
};

pub(crate) static NODE: Recipe = Recipe {
    folder: "node",
    needs: &[&["node", "--version"], &["npm", "--version"]],
    build: &[&["npm", "ci", "--no-audit", "--no-fund"]],
    run: &["node", "./main.js"],
};

pub(crate) static LIBRDKAFKA: Recipe = Recipe {
    folder: "rust-rdkafka",
    needs: &[&["cc", "--version"], &["c++", "--version"], &["make", "--version"]],
    build: &[&["cargo", "build", "--locked"]],
    run: &["./target/debug/interop-rust-rdkafka"],
};
