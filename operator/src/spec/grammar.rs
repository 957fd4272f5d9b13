//! Kubernetes' grammar of names, labels and image references.

fn is_word(text: &str, inner: impl Fn(char) -> bool, outer: impl Fn(char) -> bool) -> bool {
    text.chars().all(inner) && text.starts_with(&outer) && text.ends_with(&outer)
}

/// Lower-case letters, digits and `-`, beginning with a letter.
pub(crate) fn is_dns_label(text: &str) -> bool {
    text.len() <= 63
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && is_word(text, |c| is_lower(c) || c == '-', is_lower)
}

/// A key of labels and annotations: `name`, or `domain/name`.
pub(crate) fn is_qualified_name(text: &str) -> bool {
    let (domain, name) = match text.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, text),
    };
    let domain_is_valid = domain.is_none_or(|domain| {
        domain.len() <= 253
            && domain.split('.').all(|part| is_word(part, |c| is_lower(c) || c == '-', is_lower))
    });
    domain_is_valid && !name.is_empty() && is_label_value(name)
}

pub(crate) fn is_label_value(text: &str) -> bool {
    let alphanumeric = |c: char| c.is_ascii_alphanumeric();
    let inner = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c);
    text.is_empty() || (text.len() <= 63 && is_word(text, inner, alphanumeric))
}

/// `[host[:port]/]path[:tag][@sha256:digest]`, as the distribution project defines it.
pub(crate) fn is_image(text: &str) -> bool {
    let (text, digest) = match text.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (text, None),
    };
    let digest_is_valid = digest.is_none_or(|digest| {
        digest
            .strip_prefix("sha256:")
            .is_some_and(|hex| hex.len() == 64 && hex.chars().all(|c| c.is_ascii_hexdigit()))
    });
    let (name, tag) = match text.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (text, None),
    };
    let tag_is_valid = tag.is_none_or(|tag| {
        let inner = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c);
        (1..=128).contains(&tag.len()) && tag.chars().all(inner) && !tag.starts_with(['-', '.'])
    });
    let (host, path) = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), path),
        _ => (None, name),
    };
    let host_is_valid = host.is_none_or(|host| {
        let (host, port) = host.split_once(':').unwrap_or((host, "0"));
        let inner = |c: char| c.is_ascii_alphanumeric() || ['-', '.'].contains(&c);
        !host.is_empty()
            && host.chars().all(inner)
            && !port.is_empty()
            && port.chars().all(|c| c.is_ascii_digit())
    });
    let part = |part: &str| is_word(part, |c| is_lower(c) || ['-', '_', '.'].contains(&c), is_lower);
    digest_is_valid && tag_is_valid && host_is_valid && path.split('/').all(part)
}

fn is_lower(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images() {
        let digest = format!("quartet/node@sha256:{}", "0".repeat(64));
        for image in
            ["node", "quartet/node:0.1.0", "localhost:5000/a/b-c:V1_2", "ghcr.io/quartet/node", &digest]
        {
            assert!(is_image(image), "{image}");
        }
        for image in ["", ":", "node:", "Node", "a//b", "node:a b", "node@sha256:12", "/node", "http://x/y"] {
            assert!(!is_image(image), "{image}");
        }
    }

    #[test]
    fn labels() {
        for key in ["team", "example.com/team", "a_b.c"] {
            assert!(is_qualified_name(key), "{key}");
        }
        for key in ["", "/", "a/", "-a", "a b", "Example.com/a", "a/b/c"] {
            assert!(!is_qualified_name(key), "{key}");
        }
        assert!(is_label_value("") && is_label_value("A-1") && !is_label_value("-") && !is_label_value("ä"));
    }
}
