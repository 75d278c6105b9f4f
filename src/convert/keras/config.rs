//! Reads a model's configuration for the names of its layers.
//!
//! Keras 3 numbers the layers of a network by class in the order of the configuration: the third `Conv2D` is
//! `layers/conv2d_2`. A network that is a layer of another is a layer of class `functional` there, with its own
//! `layers`. The path of a layer's variables therefore gives its position in the configuration, and that gives its
//! name.

use std::collections::HashMap;

use serde_json::Value;

/// The deepest nesting of networks that is followed; real models are not nested as deeply.
const MAX_DEPTH: usize = 6;

/// A layer in the configuration.
pub(super) struct Configured {
    /// The path of its variables in a file that numbers layers, without the parts `layers`: `functional/conv2d_2`.
    pub(super) position: String,
    /// The names of the networks around it, outermost first, without the model itself.
    pub(super) around: Vec<String>,
    pub(super) name: String,
    /// The batch norm's epsilon.
    pub(super) eps: Option<f64>,
}

/// Returns all layers of a model, including those of nested networks.
pub(super) fn layers(model: &Value) -> Vec<Configured> {
    let mut found = Vec::new();
    children(model, "", &[], 0, &mut found);
    found
}

fn children(
    network: &Value,
    position: &str,
    around: &[String],
    depth: usize,
    found: &mut Vec<Configured>,
) {
    let config = network.get("config").unwrap_or(&Value::Null);
    // Before Keras 2.2.3 the configuration of a `Sequential` was a plain list of its layers.
    let layers = config.get("layers").unwrap_or(config).as_array();
    let mut used: HashMap<String, usize> = HashMap::new();
    for layer in layers.into_iter().flatten() {
        let class = layer.get("class_name").and_then(Value::as_str);
        let class = snake_case(class.unwrap_or_default());
        let count = used.entry(class.clone()).or_default();
        let own = match *count {
            0 => class,
            n => format!("{class}_{n}"),
        };
        *count += 1;
        add(layer, format!("{position}{own}"), around, depth, found);
    }
    // A layer that wraps another, such as `TimeDistributed`.
    if let Some(layer) = config.get("layer") {
        add(layer, format!("{position}layer"), around, depth, found);
    }
}

fn add(
    layer: &Value,
    position: String,
    around: &[String],
    depth: usize,
    found: &mut Vec<Configured>,
) {
    let config = layer.get("config").unwrap_or(&Value::Null);
    let name = config.get("name").or_else(|| layer.get("name"));
    let name = name.and_then(Value::as_str).unwrap_or_default().to_string();
    let is_norm = layer.get("class_name").and_then(Value::as_str) == Some("BatchNormalization");
    if depth < MAX_DEPTH {
        let around = [around, std::slice::from_ref(&name)].concat();
        children(layer, &format!("{position}/"), &around, depth + 1, found);
    }
    found.push(Configured {
        position,
        around: around.to_vec(),
        name,
        eps: config
            .get("epsilon")
            .filter(|_| is_norm)
            .and_then(Value::as_f64),
    });
}

/// Converts a class name to the form in paths: `BatchNormalization` becomes `batch_normalization`, `Conv2D` `conv2d`.
fn snake_case(class: &str) -> String {
    let letters: Vec<char> = class
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    let mut name = String::new();
    for (i, &c) in letters.iter().enumerate() {
        let before = i.checked_sub(1).map(|i| letters[i]);
        let is_lower = |c: Option<&char>| c.is_some_and(|c| c.is_lowercase());
        let begins_word = c.is_uppercase() && is_lower(letters.get(i + 1));
        let ends_word = c.is_uppercase() && before.is_some_and(char::is_lowercase);
        if before.is_some_and(|b| b != '_') && (begins_word || ends_word) {
            name.push('_');
        }
        name.extend(c.to_lowercase());
    }
    name
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn classes_are_spelled_as_keras_spells_them() {
        for (class, path) in [
            ("Conv2D", "conv2d"),
            ("BatchNormalization", "batch_normalization"),
            ("Conv2DTranspose", "conv2d_transpose"),
            ("GlobalAveragePooling2D", "global_average_pooling2d"),
            ("ReLU", "re_lu"),
            ("Functional", "functional"),
            ("MyNet", "my_net"),
        ] {
            assert_eq!(snake_case(class), path);
        }
    }

    #[test]
    fn layers_are_numbered_by_class_in_each_network() {
        let layer = |class: &str, name: &str, eps: f64| json!({"class_name": class, "config": {"name": name, "epsilon": eps}});
        let inner = json!({"class_name": "Functional", "config": {"name": "densenet", "layers": [
            layer("Conv2D", "conv1_conv", 0.0), layer("BatchNormalization", "conv1_bn", 1e-5)]}});
        let model = json!({"class_name": "Sequential", "config": {"layers": [
            layer("BatchNormalization", "a", 1e-3), layer("BatchNormalization", "b", 1e-4), inner,
            {"class_name": "TimeDistributed", "config": {"name": "t", "layer": layer("Dense", "d", 0.0)}}]}});
        let found = layers(&model);
        let find = |position: &str| found.iter().find(|l| l.position == position).unwrap();
        assert_eq!(find("batch_normalization_1").name, "b");
        assert_eq!(find("batch_normalization_1").eps, Some(1e-4));
        let norm = find("functional/batch_normalization");
        assert_eq!((&*norm.name, norm.eps), ("conv1_bn", Some(1e-5)));
        assert_eq!(norm.around, ["densenet"]);
        let conv = find("functional/conv2d");
        assert_eq!((&*conv.name, conv.eps), ("conv1_conv", None));
        assert_eq!(find("time_distributed/layer").name, "d");
    }
}
