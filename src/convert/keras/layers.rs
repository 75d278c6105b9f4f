//! Groups the variables of a Keras file into layers.

use std::collections::{BTreeMap, HashMap};

use super::config::Configured;
use crate::data::import::Archive;

const NORM: [&str; 4] = ["gamma", "beta", "moving_mean", "moving_variance"];
const LINEAR: [&str; 2] = ["kernel", "bias"];

/// A layer with variables.
pub(super) struct Layer {
    pub(super) position: Position,
    /// The batch norm's epsilon, if the configuration gives it.
    pub(super) eps: Option<f64>,
    /// The known variables with their indices in the archive. Variables of unknown meaning are left out.
    pub(super) variables: Vec<(&'static str, usize)>,
}

/// The position of a layer in the model.
pub(super) enum Position {
    /// A layer of the model itself, by name. HDF5 files name it twice, as the group and in the variable:
    /// `conv1_conv/conv1_conv/kernel`.
    Own(String),
    /// A layer of a nested network, by the groups around it and then its own name: `densenet121`, `conv1_conv`.
    Within(Vec<String>),
    /// A layer in a file that numbers layers by class; its name is known if the file or the configuration gives it.
    Numbered {
        /// The path of its network.
        network: Vec<String>,
        class: String,
        number: usize,
        name: Option<String>,
    },
}

/// Returns all layers of an archive, without those of an optimizer.
pub(super) fn layers(archive: &Archive, configured: &[Configured]) -> Vec<Layer> {
    let by_position: HashMap<&str, &Configured> =
        configured.iter().map(|l| (&*l.position, l)).collect();
    let mut found = Vec::new();
    // The variables by the path of their layer and by whether the file numbers them.
    let mut paths: BTreeMap<(String, bool), Vec<(&str, usize)>> = BTreeMap::new();
    for (index, entry) in archive.entries().iter().enumerate() {
        let Some((path, variable)) = entry.name.rsplit_once('/') else {
            continue;
        };
        if path.starts_with("optimizer") {
            continue;
        }
        let (path, is_numbered) = match path.strip_suffix("/vars") {
            Some(path) => (path, true),
            None => (path, false),
        };
        let path = path.strip_prefix("model_weights/").unwrap_or(path);
        let variables = paths.entry((path.to_string(), is_numbered)).or_default();
        variables.push((variable, index));
    }
    for ((path, is_numbered), variables) in paths {
        let layer = match is_numbered {
            true => numbered(archive, &path, &variables, &by_position),
            false => named(&path, &variables),
        };
        found.extend(layer);
    }
    found
}

/// Reads a layer whose path contains its name.
fn named(path: &str, variables: &[(&str, usize)]) -> Option<Layer> {
    let known = variables.iter().filter_map(|&(variable, index)| {
        // Two networks in one TensorFlow 1 session led to `kernel_1:0`.
        let name = base(variable.split(':').next()?);
        let mut all = NORM.iter().chain(&LINEAR);
        Some((*all.find(|n| **n == name)?, index))
    });
    let variables: Vec<_> = known.collect();
    let parts: Vec<&str> = path.split('/').collect();
    let owned = |parts: &[&str]| parts.iter().map(|p| p.to_string()).collect();
    let position = match own_name(&parts) {
        Some(name) => Position::Own(name),
        None => Position::Within(owned(&parts)),
    };
    let layer = Layer {
        position,
        eps: None,
        variables,
    };
    (!layer.variables.is_empty()).then_some(layer)
}

/// Returns the name of a layer of the model itself; its path begins and ends with it. Older versions have names with a
/// slash, `conv1/conv`, which adds one group. A renamed layer has its new name in front and the old one, from which the
/// new one is formed, at the end: `left_conv1_conv/conv1_conv`.
fn own_name(parts: &[&str]) -> Option<String> {
    [1, 2].into_iter().find_map(|count| {
        let (group, rest) = parts.split_at_checked(count)?;
        let end = rest.get(rest.len().checked_sub(count)?..)?;
        let (group, end) = (group.join("_"), end.join("_"));
        let is_numbered = rest.len() == count && group == base_of_each(rest);
        let is_renamed = rest.len() == count
            && (group.ends_with(&format!("_{end}")) || group.starts_with(&format!("{end}_")));
        (group == end || is_numbered || is_renamed).then_some(group)
    })
}

/// Returns the parts of a name, each without the number that makes it unique.
fn base_of_each(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().map(|part| base(part)).collect();
    parts.join("_")
}

/// Returns a name without the number that makes it unique.
fn base(name: &str) -> &str {
    match name.rsplit_once('_') {
        Some((base, number)) if is_number(number) => base,
        _ => name,
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// Reads a layer whose path contains its class and number.
fn numbered(
    archive: &Archive,
    path: &str,
    variables: &[(&str, usize)],
    by_position: &HashMap<&str, &Configured>,
) -> Option<Layer> {
    let (network, own) = path.rsplit_once('/').unwrap_or(("", path));
    let class = base(own);
    let number = own[class.len()..].trim_start_matches('_').parse();
    // The names of the groups between a network and its layers, in Keras 3 and in Keras 2.12.
    let is_layer = |part: &&str| !matches!(*part, "layers" | "_layer_checkpoint_dependencies");
    let position: Vec<&str> = path.split('/').filter(is_layer).collect();
    let configured = by_position.get(&*position.join("/"));
    let written = variables.iter().find_map(|&(_, i)| archive.layer_name(i));
    let name = written.or(configured.map(|l| &*l.name));
    let names: &[&'static str] = match (class, variables.len()) {
        // With fewer variables, the layer has no scale or no shift, and nothing tells which.
        ("batch_normalization", 4) => &NORM,
        ("conv2d" | "dense", 1 | 2) => &LINEAR,
        _ => &[],
    };
    let known = variables.iter().filter_map(|&(variable, index)| {
        let number: usize = variable.parse().ok()?;
        Some((*names.get(number)?, index))
    });
    Some(Layer {
        variables: known.collect(),
        eps: configured.and_then(|l| l.eps),
        position: Position::Numbered {
            network: network.split('/').map(str::to_string).collect(),
            class: class.to_string(),
            number: number.unwrap_or(0),
            name: name.filter(|n| !n.is_empty()).map(|n| n.replace('/', "_")),
        },
    })
}

impl Layer {
    /// Returns the index of a variable's entry.
    pub(super) fn variable(&self, name: &str) -> Option<usize> {
        let mut found = self.variables.iter().filter(|(n, _)| *n == name);
        found.next().map(|(_, index)| *index)
    }
}

#[cfg(test)]
mod tests {
    use super::own_name;

    #[test]
    fn own_layers_are_told_from_those_of_networks_within() {
        for (path, name) in [
            ("conv1_conv/conv1_conv", Some("conv1_conv")),
            ("conv1/conv/conv1/conv", Some("conv1_conv")),
            ("conv1_conv/conv1_conv_1", Some("conv1_conv")),
            ("bn/sequential/bn", Some("bn")),
            ("left_conv1_conv/conv1_conv", Some("left_conv1_conv")),
            ("conv1_conv_b/conv1_conv", Some("conv1_conv_b")),
            ("b_conv1/conv/conv1/conv", Some("b_conv1_conv")),
            ("conv1/conv/conv1_1/conv", Some("conv1_conv")),
            ("densenet121/conv1_conv", None),
            ("densenet121/conv1/bn", None),
            ("aspp/aspp/bn", None),
            ("conv1/conv1/bn", None),
            ("bn", None),
        ] {
            let parts: Vec<&str> = path.split('/').collect();
            assert_eq!(own_name(&parts).as_deref(), name, "{path}");
        }
    }
}
