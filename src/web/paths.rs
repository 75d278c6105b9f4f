//! The paths of the service's routes, as they are under `/`.

use crate::data::SAMPLES;

/// Captions for uploaded images.
pub const CAPTION: &str = "/api/caption";
/// The service, its model and its limits.
pub const INFO: &str = "/api/info";
/// The description of the interface.
pub const OPENAPI: &str = "/api/openapi.json";
/// The health check.
pub const HEALTH: &str = "/healthz";
/// Metrics for Prometheus.
pub const METRICS: &str = "/metrics";

/// The paths of all routes for programs.
pub const PROGRAMS: [&str; 5] = [CAPTION, INFO, OPENAPI, HEALTH, METRICS];

/// The page's style sheet.
pub const STYLE: &str = "/style.css";
/// The page's script.
pub const SCRIPT: &str = "/app.js";
/// The page's icon.
pub const ICON: &str = "/icon.svg";

/// Returns the path of a sample photo.
pub fn sample(name: &str) -> String {
    format!("/samples/{name}")
}

/// Returns a route that `path` would hide, if there is one: a route equal to the path or below it.
pub fn hidden_by(path: &str) -> Option<String> {
    let fixed = PROGRAMS.into_iter().chain([STYLE, SCRIPT, ICON]);
    let samples = SAMPLES.into_iter().map(|photo| sample(photo.name));
    let mut own = fixed.map(str::to_string).chain(samples);
    own.find(|own| {
        let below = own.strip_prefix(path).filter(|_| !path.is_empty());
        below.is_some_and(|below| below.is_empty() || below.starts_with('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_the_services_own_is_known() {
        for (path, hidden) in [
            ("/api", true),
            ("/api/caption", true),
            ("/metrics", true),
            ("/samples", true),
            ("/app.js", true),
            ("", false),
            ("/glimpse", false),
            ("/ap", false),
            ("/apis", false),
            ("/api/glimpse", false),
        ] {
            assert_eq!(hidden_by(path).is_some(), hidden, "{path}");
        }
    }
}
