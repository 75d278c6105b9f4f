//! PyTorch's names for a DenseNet.
//!
//! torchvision and timm agree, `features.denseblock1.denselayer1.norm1.weight`, but for two things. The files that
//! torchvision publishes are older than that spelling and have `norm.1`; and whoever trained a network has wrapped it
//! in something, so that names begin with `module.`, `state_dict.` or whatever it was called. That is found by looking
//! for the first convolution: what stands before it is the prefix.

use super::{Found, Inventory, Layout, own_description};
use crate::data::Recipe;
use crate::data::import::Archive;

const FIRST: &str = "features.conv0.weight";

/// Everything of a DenseNet among an archive's entries.
///
/// # Errors
/// Where there is none.
pub(super) fn inventory(archive: &Archive) -> Result<Inventory, String> {
    let entries = archive.entries();
    let prefixes = entries.iter().filter_map(|e| {
        let prefix = e.name.strip_suffix(FIRST)?;
        (prefix.is_empty() || prefix.ends_with('.')).then_some(prefix)
    });
    // Of several networks in one file the one least deeply wrapped: the averaged copy of a checkpoint, its teacher and
    // the like lie beside or under it. The others are told of as left out.
    let Some(prefix) = prefixes.min_by_key(|p| (p.matches('.').count(), p.len())) else {
        let first = match entries.first() {
            Some(e) => format!("it begins with `{}` {:?}", e.name, e.shape),
            None => "it holds no tensors at all".to_string(),
        };
        return Err(format!(
            "holds no DenseNet: `{FIRST}` [stem, 3, 7, 7] is missing, {first}"
        ));
    };
    let (mut found, mut left_out) = (Vec::new(), Vec::new());
    for (index, entry) in entries.iter().enumerate() {
        let name = entry.name.strip_prefix(prefix);
        match name.filter(|n| n.starts_with("features.") || n.starts_with("classifier.")) {
            // Counts the batches of a training that is over.
            Some(name) if name.ends_with(".num_batches_tracked") => {}
            Some(name) => found.push(Found {
                name: modern(name),
                index,
                shape: entry.shape.clone(),
                layout: Layout::Same,
            }),
            None => left_out.push(index),
        }
    }
    let own = own_description(archive)?;
    Ok(Inventory {
        found,
        left_out,
        eps: own.as_ref().map_or(1e-5, |d| d.encoder.eps),
        recipe: own.map_or_else(Recipe::default, |d| d.recipe),
        framework: "PyTorch",
    })
}

/// The name as it is spelled today: `…denselayer1.norm.1.weight` is `…denselayer1.norm1.weight`.
fn modern(name: &str) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    match parts[..] {
        [
            features,
            block,
            layer,
            kind @ ("norm" | "conv"),
            number @ ("1" | "2"),
            what,
        ] if layer.starts_with("denselayer") => {
            format!("{features}.{block}.{layer}.{kind}{number}.{what}")
        }
        _ => name.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::modern;

    #[test]
    fn old_names_become_new_ones() {
        for (old, new) in [
            (
                "features.denseblock1.denselayer12.norm.1.running_mean",
                "features.denseblock1.denselayer12.norm1.running_mean",
            ),
            (
                "features.denseblock4.denselayer1.conv.2.weight",
                "features.denseblock4.denselayer1.conv2.weight",
            ),
            (
                "features.transition1.norm.weight",
                "features.transition1.norm.weight",
            ),
            ("features.norm5.weight", "features.norm5.weight"),
            (
                "features.denseblock1.denselayer1.relu.1.weight",
                "features.denseblock1.denselayer1.relu.1.weight",
            ),
        ] {
            assert_eq!(modern(old), new);
        }
    }
}
