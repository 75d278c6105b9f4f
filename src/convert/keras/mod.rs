//! Recognises Keras' names and layout for a DenseNet.
//!
//! | Keras | torchvision |
//! |---|---|
//! | `conv1_conv`, `conv1_bn` | `features.conv0`, `features.norm0` |
//! | `conv2_block1_0_bn`, `conv2_block1_1_conv` | `features.denseblock1.denselayer1.norm1`, `.conv1` |
//! | `conv2_block1_1_bn`, `conv2_block1_2_conv` | `features.denseblock1.denselayer1.norm2`, `.conv2` |
//! | `pool2_bn`, `pool2_conv` | `features.transition1.norm`, `.conv` |
//! | `bn`, `predictions` | `features.norm5`, `classifier` |
//!
//! Kernels are `[kh, kw, C, O]`, matrices `[in, out]`. Older versions write `conv1/conv`, which in HDF5 is a group in a
//! group. All versions write a layer's name once or twice before the variable's. In Keras 3's own files the paths have
//! no names: layers are numbered by class in each network, `layers/conv2d_7/vars/0`. Their names are in an attribute
//! beside the variables, in newer versions, and in the configuration, which `.keras` files contain. If neither gives
//! them, the DenseNet is found by order and shapes, or refused.
//!
//! A DenseNet is seldom alone. It is a layer of another network, or has a stem before it and a head or a decoder after
//! it, with convolutions and batch norms of their own. A layer therefore belongs to the encoder only if it lies in the
//! same network as the encoder's first convolution and its name has the same prefix and suffix: with `left_conv1_conv`,
//! the layer `left_bn` belongs to the encoder, but `bn` and `decoder/bn` do not.

mod config;
mod layers;
mod order;
mod unnamed;

use self::config::Configured;
use self::layers::{Layer, Position};
use self::unnamed::{by_order, rows};
use super::{Inventory, Layout, Located, keras_recipe, unknown};
use crate::data::import::Archive;

/// The epsilon of Keras' DenseNets, for files that do not give it.
const EPS: f32 = 1.001e-5;

/// The first layer of every DenseNet of Keras.
const FIRST_LAYER: &str = "conv1_conv";

/// A layer of a DenseNet: its name, as the table above spells it, and its index among all layers.
type Member = (String, usize);

/// A DenseNet in a model.
struct Network {
    /// The prefix of its layers' names in the file.
    prefix: String,
    members: Vec<Member>,
}

/// Finds every DenseNet among an archive's entries, at least one.
///
/// # Errors
/// If there is none, or it cannot be determined which layers belong to it.
pub(super) fn inventories(archive: &mut Archive) -> Result<Vec<Inventory>, String> {
    let configured = archive.config().map(config::layers).unwrap_or_default();
    let layers = layers::layers(archive, &configured);
    let mut networks = by_name(&layers);
    let mut reason = None;
    if networks.is_empty() {
        for (prefix, rows) in rows(&layers) {
            match by_order(archive, &layers, &rows) {
                Some(Ok(members)) => networks.push(Network { prefix, members }),
                Some(Err(why)) => reason = Some(why),
                None => {}
            }
        }
    }
    if networks.is_empty() {
        return Err(match reason {
            Some(why) if archive.config().is_none() => {
                format!("{why}; save the whole model as `.keras`, which keeps the names")
            }
            Some(why) => format!("{why}; give its layers the names of Keras' own DenseNets"),
            None => unknown(archive, "layers `conv1_conv` and `conv2_block1_1_conv`"),
        });
    }
    let inventory = |network| inventory(archive, &layers, &configured, network);
    networks.into_iter().map(inventory).collect()
}

/// Finds the DenseNets whose layers have Keras' names.
fn by_name(layers: &[Layer]) -> Vec<Network> {
    let mut found: Vec<Network> = Vec::new();
    for layer in layers {
        let Some(scope) = Scope::of(layer) else {
            continue;
        };
        let prefix = scope.prefix();
        if found.iter().any(|network| network.prefix == prefix) {
            continue;
        }
        let members = layers.iter().enumerate();
        let mut members: Vec<Member> = members
            .filter_map(|(i, layer)| Some((scope.name(layer)?, i)))
            .filter(|(name, _)| torch_layer(name).is_some())
            .collect();
        // A classifier after further layers classifies their output, not the features, so it is not the encoder's.
        if layers.iter().filter(|layer| scope.holds(layer)).count() > members.len() {
            members.retain(|(name, _)| name != "predictions");
        }
        let has = |name: &str| members.iter().any(|(n, _)| n == name);
        // Keras' ResNets have a third convolution in each block, but otherwise the same names.
        if has("conv2_block1_1_conv") && !has("conv2_block1_3_conv") {
            found.push(Network { prefix, members });
        }
    }
    found
}

/// The location of one DenseNet's layers, and the prefix and suffix of their names.
struct Scope<'a> {
    /// The groups around them; `None` for layers of the model itself in files that name each layer twice.
    within: Option<&'a [String]>,
    before: String,
    after: String,
}

impl<'a> Scope<'a> {
    /// Returns the scope of the DenseNet that begins with `layer`, if one does.
    fn of(layer: &'a Layer) -> Option<Self> {
        let scope = |within, name: &str| {
            let at = name.find(FIRST_LAYER)?;
            let (before, after) = (&name[..at], &name[at + FIRST_LAYER.len()..]);
            let is_apart = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric());
            (is_apart(before.chars().next_back()) && is_apart(after.chars().next())).then(|| {
                Scope {
                    within,
                    before: before.to_string(),
                    after: after.to_string(),
                }
            })
        };
        match &layer.position {
            Position::Own(name) => scope(None, name),
            Position::Numbered { network, name, .. } => scope(Some(&network[..]), name.as_deref()?),
            // Names with a slash are two groups.
            Position::Within(path) => [1, 2].into_iter().find_map(|count| {
                let (within, name) = path.split_at(path.len().checked_sub(count)?);
                scope(Some(within), &name.join("_"))
            }),
        }
    }

    /// Whether a layer is in the same network, whatever its name.
    fn holds(&self, layer: &Layer) -> bool {
        match (&layer.position, self.within) {
            (Position::Own(_), None) => true,
            (Position::Numbered { network, .. }, Some(within)) => network == within,
            (Position::Within(path), Some(within)) => path.starts_with(within),
            _ => false,
        }
    }

    /// Returns the name of a layer of the same network, without prefix and suffix.
    fn name(&self, layer: &Layer) -> Option<String> {
        let name = match (&layer.position, self.within) {
            (Position::Own(name), None) => name.clone(),
            (Position::Numbered { network, name, .. }, Some(within)) if network == within => {
                name.clone()?
            }
            (Position::Within(path), Some(within)) => path.strip_prefix(within)?.join("_"),
            _ => return None,
        };
        let name = name.strip_prefix(&self.before)?.strip_suffix(&self.after)?;
        Some(name.to_string())
    }

    /// Returns the name under which the user can choose the network.
    fn prefix(&self) -> String {
        let mut prefix = String::new();
        for group in self.within.unwrap_or_default() {
            prefix += group;
            prefix.push('/');
        }
        prefix += &self.before;
        // In the second of two networks in one model, a number follows the names.
        match &*self.after {
            "" => prefix,
            after => format!("{prefix}{FIRST_LAYER}{after}"),
        }
    }
}

/// Collects the tensors of one DenseNet under torchvision's names.
fn inventory(
    archive: &Archive,
    layers: &[Layer],
    configured: &[Configured],
    network: Network,
) -> Result<Inventory, String> {
    let entries = archive.entries();
    let mut found = Vec::new();
    let mut is_left = vec![true; entries.len()];
    for (member, i) in &network.members {
        for &(variable, index) in &layers[*i].variables {
            let Some(name) = torch_name(member, variable) else {
                continue;
            };
            let shape = &entries[index].shape;
            let (layout, shape) = match (variable, &shape[..]) {
                ("kernel", &[kh, kw, c, o]) => (Layout::Hwio, vec![o, c, kh, kw]),
                ("kernel", &[inputs, out]) => (Layout::Transposed, vec![out, inputs]),
                _ => (Layout::Same, shape.clone()),
            };
            is_left[index] = false;
            found.push(Located {
                name,
                index,
                shape,
                layout,
            });
        }
    }
    Ok(Inventory {
        found,
        left_out: (0..entries.len()).filter(|&i| is_left[i]).collect(),
        eps: epsilon(layers, configured, &network)?,
        recipe: keras_recipe()?,
        framework: "Keras",
        prefix: network.prefix,
    })
}

/// Returns torchvision's name of a variable, if its layer belongs to a DenseNet.
fn torch_name(layer: &str, variable: &str) -> Option<String> {
    let what = match variable {
        "kernel" | "gamma" => "weight",
        "bias" | "beta" => "bias",
        "moving_mean" => "running_mean",
        "moving_variance" => "running_var",
        _ => return None,
    };
    let layer = torch_layer(layer)?;
    Some(format!("{layer}.{what}"))
}

/// Returns torchvision's name of a layer.
fn torch_layer(layer: &str) -> Option<String> {
    match layer {
        "conv1_conv" => return Some("features.conv0".into()),
        "conv1_bn" => return Some("features.norm0".into()),
        "bn" => return Some("features.norm5".into()),
        "predictions" => return Some("classifier".into()),
        _ => {}
    }
    let parts: Vec<&str> = layer.split('_').collect();
    match parts[..] {
        [pool, kind @ ("bn" | "conv")] => {
            let number = number(pool, "pool")?.checked_sub(1)?;
            let kind = if kind == "bn" { "norm" } else { kind };
            Some(format!("features.transition{number}.{kind}"))
        }
        [conv, block, step, kind] => {
            let conv = number(conv, "conv")?.checked_sub(1)?;
            let block = number(block, "block")?;
            let what = match (step, kind) {
                ("0", "bn") => "norm1",
                ("1", "conv") => "conv1",
                ("1", "bn") => "norm2",
                ("2", "conv") => "conv2",
                // A layer of Keras' ResNets, whose names are similar.
                _ => {
                    return Some(format!(
                        "features.denseblock{conv}.denselayer{block}.{step}_{kind}"
                    ));
                }
            };
            Some(format!(
                "features.denseblock{conv}.denselayer{block}.{what}"
            ))
        }
        _ => None,
    }
}

fn number(text: &str, prefix: &str) -> Option<usize> {
    text.strip_prefix(prefix)?.parse().ok()
}

/// Returns the epsilon of a DenseNet's batch norms; Keras' default if nothing gives it.
fn epsilon(layers: &[Layer], configured: &[Configured], network: &Network) -> Result<f32, String> {
    let mut all = Vec::new();
    for (_, i) in &network.members {
        all.extend(layers[*i].eps);
        all.extend(configured_epsilon(&layers[*i], configured));
    }
    match all.as_slice() {
        [] => Ok(EPS),
        [first, rest @ ..] => match rest.iter().find(|e| *e != first) {
            None => Ok(*first as f32),
            Some(other) => Err(format!(
                "has batch norms that add {first} to their variances and others that add {other}; a DenseNet's all \
                 add the same"
            )),
        },
    }
}

/// Returns the configured epsilon of a layer that has a name in the file.
fn configured_epsilon(layer: &Layer, configured: &[Configured]) -> Option<f64> {
    // In the file, the outermost network is a group, and the layer's name ends the path.
    let (around, names) = match &layer.position {
        Position::Own(name) => (None, vec![name.clone()]),
        Position::Within(path) => {
            let names = (1..path.len()).map(|from| path[from..].join("_"));
            (path.first(), names.collect())
        }
        Position::Numbered { .. } => return None,
    };
    names.iter().find_map(|name| {
        let mut found = configured.iter().filter(|l| l.around.first() == around);
        found.find(|l| l.name.replace('/', "_") == *name)?.eps
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_have_their_names_in_torchvision() {
        for (keras, torch) in [
            ("conv1_conv", Some("features.conv0")),
            ("conv1_bn", Some("features.norm0")),
            (
                "conv2_block1_0_bn",
                Some("features.denseblock1.denselayer1.norm1"),
            ),
            (
                "conv5_block16_2_conv",
                Some("features.denseblock4.denselayer16.conv2"),
            ),
            ("pool4_bn", Some("features.transition3.norm")),
            ("bn", Some("features.norm5")),
            ("predictions", Some("classifier")),
            ("dense", None),
            ("block_1_expand", None),
            ("pool0_conv", None),
        ] {
            assert_eq!(torch_layer(keras).as_deref(), torch, "{keras}");
        }
    }
}
