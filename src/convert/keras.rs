//! Keras' names and layout for a DenseNet.
//!
//! | Keras | torchvision |
//! |---|---|
//! | `conv1_conv`, `conv1_bn` | `features.conv0`, `features.norm0` |
//! | `conv2_block1_0_bn`, `conv2_block1_1_conv` | `features.denseblock1.denselayer1.norm1`, `.conv1` |
//! | `conv2_block1_1_bn`, `conv2_block1_2_conv` | `features.denseblock1.denselayer1.norm2`, `.conv2` |
//! | `pool2_bn`, `pool2_conv` | `features.transition1.norm`, `.conv` |
//! | `bn`, `predictions` | `features.norm5`, `classifier` |
//!
//! Kernels are `[kh, kw, C, O]`, matrices `[in, out]`. Older versions write `conv1/conv`, which HDF5 takes for a group
//! in a group; all write a layer's name once or twice before the variable's. Keras 3 leaves names out of its own
//! files altogether: layers are numbered by class, `layers/conv2d_7/vars/0`, in the order of the network, so that they
//! are told apart by where in it they stand.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Found, Inventory, Layout, keras_recipe};
use crate::data::import::Archive;

/// What Keras adds to the variances of its DenseNets where the file does not say.
const EPS: f32 = 1.001e-5;

/// A variable of a layer: where it lies, and whose it is.
struct Variable {
    index: usize,
    /// As the table above spells it.
    layer: String,
    /// `kernel`, `bias`, `gamma`, `beta`, `moving_mean`, `moving_variance`.
    name: &'static str,
}

/// Everything of a DenseNet among an archive's entries.
///
/// # Errors
/// Where there is none, or its batch norms do not all add the same to their variances.
pub(super) fn inventory(archive: &Archive) -> Result<Inventory, String> {
    let entries = archive.entries();
    let variables = match numbered(archive) {
        Some(layers) => in_order(archive, &layers),
        None => by_name(archive),
    };
    if !variables.iter().any(|v| v.layer == "conv1_conv") {
        let first = match entries.first() {
            Some(e) => format!("it begins with `{}` {:?}", e.name, e.shape),
            None => "it holds no weights at all".to_string(),
        };
        return Err(format!(
            "holds no DenseNet of Keras: the kernel of `conv1_conv` [7, 7, 3, stem] is missing, {first}"
        ));
    }
    let mut found = Vec::new();
    let mut is_left = vec![true; entries.len()];
    for variable in variables {
        let shape = &entries[variable.index].shape;
        let Some(name) = torch_name(&variable) else {
            continue;
        };
        let (layout, shape) = match (variable.name, &shape[..]) {
            ("kernel", &[kh, kw, c, o]) => (Layout::Hwio, vec![o, c, kh, kw]),
            ("kernel", &[inputs, out]) => (Layout::Transposed, vec![out, inputs]),
            _ => (Layout::Same, shape.clone()),
        };
        is_left[variable.index] = false;
        found.push(Found {
            name,
            index: variable.index,
            shape,
            layout,
        });
    }
    Ok(Inventory {
        found,
        left_out: (0..entries.len()).filter(|&i| is_left[i]).collect(),
        eps: epsilon(archive.config())?,
        recipe: keras_recipe()?,
        framework: "Keras",
    })
}

/// torchvision's name of a variable, if its layer is one of a DenseNet's.
fn torch_name(variable: &Variable) -> Option<String> {
    let what = match variable.name {
        "kernel" | "gamma" => "weight",
        "bias" | "beta" => "bias",
        "moving_mean" => "running_mean",
        "moving_variance" => "running_var",
        _ => return None,
    };
    let layer = torch_layer(&variable.layer)?;
    Some(format!("{layer}.{what}"))
}

/// torchvision's name of a layer.
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
                // As in Keras' ResNets, which are named much the same.
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

/// The variables of files that name their layers.
fn by_name(archive: &Archive) -> Vec<Variable> {
    let variables = archive
        .entries()
        .iter()
        .enumerate()
        .filter_map(|(index, entry)| {
            let (path, variable) = entry.name.rsplit_once('/')?;
            if path.starts_with("optimizer") {
                return None;
            }
            let name = variable_name(variable.split(':').next()?)?;
            let parts: Vec<&str> = path.split('/').collect();
            // `conv1/conv/conv1/conv` and `densenet121/conv1_conv` alike end in the layer's name; the longest ending that
            // is one is it, for `conv1_bn` ends in `bn`, which is another's.
            let layer = (0..parts.len())
                .map(|from| parts[from..].join("_"))
                .find(|ending| torch_layer(ending).is_some())?;
            Some(Variable { index, layer, name })
        });
    variables.collect()
}

fn variable_name(name: &str) -> Option<&'static str> {
    const NAMES: [&str; 6] = [
        "kernel",
        "bias",
        "gamma",
        "beta",
        "moving_mean",
        "moving_variance",
    ];
    NAMES.into_iter().find(|n| *n == name)
}

/// The layers of a class, by their numbers, and the variables of each by theirs.
type Numbered<'a> = BTreeMap<&'a str, BTreeMap<usize, BTreeMap<usize, usize>>>;

/// The layers by class and number, in files of the kind that numbers them.
fn numbered(archive: &Archive) -> Option<Numbered<'_>> {
    let mut layers = Numbered::new();
    for (index, entry) in archive.entries().iter().enumerate() {
        let (path, variable) = entry.name.rsplit_once("/vars/").unwrap_or_default();
        // A network used as a layer of another has its own `layers` within.
        let Some((_, layer)) = path.rsplit_once("layers/") else {
            continue;
        };
        let (class, number) = match layer.rsplit_once('_') {
            Some((class, number)) if number.bytes().all(|b| b.is_ascii_digit()) => {
                (class, number.parse().unwrap_or(0))
            }
            _ => (layer, 0),
        };
        if let Ok(variable) = variable.parse() {
            let layer = layers.entry(class).or_default().entry(number).or_default();
            layer.entry(variable).or_insert(index);
        }
    }
    layers.contains_key("conv2d").then_some(layers)
}

/// The variables of layers that are known by their order alone: a 1x1 convolution followed by a 3x3 is a layer of a
/// dense block, one followed by anything else is a transition, and batch norms come in the same order.
fn in_order(archive: &Archive, layers: &Numbered) -> Vec<Variable> {
    let of = |class: &str| -> Vec<&BTreeMap<usize, usize>> {
        layers
            .get(class)
            .map(|all| all.values().collect())
            .unwrap_or_default()
    };
    let (convs, norms, heads) = (of("conv2d"), of("batch_normalization"), of("dense"));
    let kernel = |i: usize| -> Option<usize> {
        let index = *convs.get(i)?.get(&0)?;
        archive.entries()[index].shape.first().copied()
    };
    let (mut conv_names, mut norm_names) =
        (vec!["conv1_conv".to_string()], vec!["conv1_bn".to_string()]);
    let (mut i, mut block, mut layer) = (1, 2, 1);
    while i < convs.len() {
        if kernel(i + 1) == Some(3) {
            let name = format!("conv{block}_block{layer}");
            norm_names.extend([format!("{name}_0_bn"), format!("{name}_1_bn")]);
            conv_names.extend([format!("{name}_1_conv"), format!("{name}_2_conv")]);
            (i, layer) = (i + 2, layer + 1);
        } else {
            norm_names.push(format!("pool{block}_bn"));
            conv_names.push(format!("pool{block}_conv"));
            (i, block, layer) = (i + 1, block + 1, 1);
        }
    }
    norm_names.push("bn".to_string());
    let mut variables = Vec::new();
    let mut take = |layers: &[&BTreeMap<usize, usize>], names: &[String], own: &[&'static str]| {
        for (layer, name) in layers.iter().zip(names) {
            for (&number, &index) in *layer {
                let (layer, name) = (name.clone(), own.get(number).copied().unwrap_or(""));
                variables.push(Variable { index, layer, name });
            }
        }
    };
    take(&convs, &conv_names, &["kernel", "bias"]);
    take(
        &norms,
        &norm_names,
        &["gamma", "beta", "moving_mean", "moving_variance"],
    );
    take(&heads, &["predictions".to_string()], &["kernel", "bias"]);
    variables
}

/// What the batch norms of a configuration add to their variances; Keras' own number where there is none.
fn epsilon(config: Option<&Value>) -> Result<f32, String> {
    let mut all = Vec::new();
    if let Some(config) = config {
        epsilons(config, 0, &mut all);
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

fn epsilons(layer: &Value, depth: usize, found: &mut Vec<f64>) {
    let config = layer.get("config").unwrap_or(&Value::Null);
    if layer.get("class_name").and_then(Value::as_str) == Some("BatchNormalization") {
        found.extend(config.get("epsilon").and_then(Value::as_f64));
    }
    // A network in a network in a network is as deep as anyone goes.
    if depth < 4 {
        let layers = config.get("layers").and_then(Value::as_array);
        for layer in layers.into_iter().flatten() {
            epsilons(layer, depth + 1, found);
        }
    }
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

    #[test]
    fn all_batch_norms_add_the_same() {
        let norm = |eps: f64| serde_json::json!({"class_name": "BatchNormalization", "config": {"epsilon": eps}});
        let model = |layers: &[Value]| serde_json::json!({"config": {"layers": layers}});
        assert_eq!(epsilon(None), Ok(1.001e-5));
        assert_eq!(epsilon(Some(&model(&[norm(1e-3), norm(1e-3)]))), Ok(1e-3));
        let inner = model(&[norm(1e-3)]);
        assert!(epsilon(Some(&model(&[norm(1e-5), inner]))).is_err());
    }
}
