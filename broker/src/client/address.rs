//! Broker addresses as people write them: `HOST`, `HOST:PORT`, `[::1]:PORT`, lists with commas; the port is 9092 when left out.

/// The port of a listener when none is given.
const DEFAULT_PORT: u16 = 9092;

/// Reads a list of addresses; each comes out as `HOST:PORT`.
pub(crate) fn parse_list(text: &str) -> Result<Vec<String>, String> {
    let all: Vec<String> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(parse).collect::<Result<_, _>>()?;
    if all.is_empty() { Err("no broker address in the list".into()) } else { Ok(all) }
}

/// Reads one address.
fn parse(text: &str) -> Result<String, String> {
    let bare = match text.split_once("://") {
        None => text,
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("plaintext") => rest,
        Some((scheme, _)) => return Err(format!("'{text}': {scheme} is not supported yet, only PLAINTEXT listeners; use one of those")),
    };
    let (host, port) = match bare.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or_else(|| wrong(text))?)),
        None => match bare.rsplit_once(':') {
            // More than one colon without brackets is an IPv6 address.
            Some((host, _)) if host.contains(':') => (bare, None),
            Some((host, port)) => (host, Some(port)),
            None => (bare, None),
        },
    };
    let port = match port {
        None => DEFAULT_PORT,
        Some(port) => port.parse().ok().filter(|p| *p > 0).ok_or_else(|| wrong(text))?,
    };
    if host.is_empty() || host.contains(char::is_whitespace) || host.contains('/') {
        return Err(wrong(text));
    }
    Ok(join(host, i32::from(port)))
}

/// `HOST:PORT`, with brackets around an IPv6 address.
pub(crate) fn join(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

fn wrong(text: &str) -> String {
    format!("'{text}' is not an address; write HOST:PORT, such as localhost:9092")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let one = |text: &str| parse_list(text).map(|all| all.join(" "));
        for (text, wanted) in [
            ("localhost", "localhost:9092"),
            ("a:1, b:2,", "a:1 b:2"),
            ("10.0.0.1:19092", "10.0.0.1:19092"),
            ("::1", "[::1]:9092"),
            ("[::1]", "[::1]:9092"),
            ("[fe80::2]:9", "[fe80::2]:9"),
            ("PLAINTEXT://h:3", "h:3"),
        ] {
            assert_eq!(one(text).as_deref(), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn wrong_addresses_are_refused_with_a_sentence() {
        for text in ["", ",", ":9092", "h:0", "h:70000", "h:x", "[::1]x", "a b:1", "http/x"] {
            assert!(parse_list(text).is_err(), "{text:?}");
        }
        assert!(parse_list("SASL_SSL://h:1").is_err_and(|e| e.contains("SASL_SSL is not supported yet")));
    }
}
