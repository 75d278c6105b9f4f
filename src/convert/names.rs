//! Recognises PyTorch's names for a DenseNet.
//!
//! torchvision and timm use the same names, `features.denseblock1.denselayer1.norm1.weight`, with two exceptions. The
//! files that torchvision publishes have an older spelling, `norm.1`. And users wrap a network in a module of their
//! own, so that names begin with `module.`, `encoder.densenet.` or another prefix: everything before the name of the
//! first convolution. In an encoder made of `densenet.features` the word `features` is missing. In
//! `nn.Sequential(*densenet.features.children())` the names of the parts are missing too: `0.weight` is the first
//! convolution, `1` its batch norm, `4` the first dense block, `5` the transition after it. The dense blocks keep their
//! inner names, `4.denselayer1.norm1.weight`, by which such a sequence is recognised.

use std::collections::{BTreeMap, BTreeSet};

use super::{Inventory, Layout, Located, own_description, unknown};
use crate::data::Recipe;
use crate::data::import::Archive;

/// The largest number of networks in a file; real files have fewer.
const MAX_NETWORKS: usize = 16;

/// A DenseNet's tensors: torchvision's name and the index of the entry.
type Names = Vec<(String, usize)>;

/// Finds every DenseNet among an archive's entries, at least one, with its prefix.
///
/// # Errors
/// If there is none, or more than a real file has.
pub(super) fn inventories(archive: &Archive) -> Result<Vec<Inventory>, String> {
    let entries = archive.entries();
    let (mut blocks, mut sequences) = (BTreeSet::new(), BTreeSet::new());
    for entry in entries {
        if let Some((prefix, _)) = split_at_part(&entry.name, "denseblock1.denselayer1.") {
            blocks.insert(prefix);
        }
        // In a numbered sequence, the name of the first dense block is a number.
        if let Some((prefix, _)) = split_at_part(&entry.name, "denselayer1.")
            && let Some((prefix, _)) = split_number(prefix)
        {
            sequences.insert(prefix);
        }
    }
    let has_first = |prefix: &&&str| {
        let first = format!("{prefix}conv0.weight");
        entries.iter().any(|e| e.name == first)
    };
    if blocks.len() + sequences.len() > MAX_NETWORKS {
        return Err(format!("holds more than {MAX_NETWORKS} DenseNets"));
    }
    let mut networks: Vec<(String, Names)> = Vec::new();
    for prefix in blocks.iter().filter(has_first) {
        networks.push((prefix.to_string(), named(archive, prefix)));
    }
    for prefix in sequences {
        networks.extend(sequence(archive, prefix).map(|names| (prefix.to_string(), names)));
    }
    if networks.is_empty() {
        return Err(unknown(
            archive,
            "`conv0.weight` and `denseblock1.denselayer1`",
        ));
    }
    let own = own_description(archive)?;
    let inventory = |(prefix, names): (String, Names)| {
        let mut is_left = vec![true; entries.len()];
        let mut found = Vec::new();
        for (name, index) in names {
            is_left[index] = false;
            // This entry counts training batches and is not needed.
            if !name.ends_with(".num_batches_tracked") {
                found.push(Located {
                    name,
                    index,
                    shape: entries[index].shape.clone(),
                    layout: Layout::Same,
                });
            }
        }
        Inventory {
            found,
            left_out: (0..entries.len()).filter(|&i| is_left[i]).collect(),
            eps: own.as_ref().map_or(1e-5, |d| d.encoder.eps),
            recipe: own.as_ref().map_or_else(Recipe::default, |d| d.recipe),
            framework: "PyTorch",
            prefix,
        }
    };
    Ok(networks.into_iter().map(inventory).collect())
}

/// Splits a name before and after `part`, if `part` begins the name or follows a dot.
fn split_at_part<'a>(name: &'a str, part: &str) -> Option<(&'a str, &'a str)> {
    let mut places = name.match_indices(part).map(|(at, _)| at);
    let at = places.find(|&at| at == 0 || name[..at].ends_with('.'))?;
    Some((&name[..at], &name[at + part.len()..]))
}

/// Splits `encoder.4.` into `encoder.` and 4.
fn split_number(prefix: &str) -> Option<(&str, usize)> {
    let path = prefix.strip_suffix('.')?;
    let at = path.rfind('.').map_or(0, |at| at + 1);
    Some((&path[..at], path[at..].parse().ok()?))
}

/// Collects the DenseNet whose parts have torchvision's names after `prefix`.
fn named(archive: &Archive, prefix: &str) -> Names {
    // Everything under `features.` belongs to the network, so an additional entry there makes it another network.
    let around = prefix.strip_suffix("features.");
    let name = |name: &str| -> Option<String> {
        if let Some(head) = around.and_then(|around| name.strip_prefix(around))
            && head.starts_with("classifier.")
        {
            return Some(head.to_string());
        }
        let rest = name.strip_prefix(prefix)?;
        (around.is_some() || is_part(rest)).then(|| modern(&format!("features.{rest}")))
    };
    let entries = archive.entries().iter().enumerate();
    entries
        .filter_map(|(index, entry)| Some((name(&entry.name)?, index)))
        .collect()
}

/// Whether a name belongs to one of the parts of `features` that have tensors.
fn is_part(name: &str) -> bool {
    let part = name.split('.').next().unwrap_or_default();
    let numbered = |kind: &str| {
        let number = part.strip_prefix(kind);
        number.is_some_and(|n| n.parse::<usize>().is_ok())
    };
    matches!(part, "conv0" | "norm0" | "norm5") || numbered("denseblock") || numbered("transition")
}

/// Collects the DenseNet in a sequence whose parts are numbered after `prefix`: the last convolution before the first
/// dense block and the batch norm after it, blocks and transitions alternately, and the batch norm right after the last
/// block.
fn sequence(archive: &Archive, prefix: &str) -> Option<Names> {
    let entries = archive.entries();
    let mut parts: BTreeMap<usize, Vec<(&str, usize)>> = BTreeMap::new();
    for (index, entry) in entries.iter().enumerate() {
        let part = entry.name.strip_prefix(prefix);
        if let Some((number, rest)) = part.and_then(|p| p.split_once('.'))
            && let Ok(number) = number.parse()
        {
            parts.entry(number).or_default().push((rest, index));
        }
    }
    let has = |number: usize, begins: &str| {
        let part = parts.get(&number);
        part.is_some_and(|part| part.iter().any(|(rest, _)| rest.starts_with(begins)))
    };
    let is_conv = |number: usize| {
        let part = parts.get(&number);
        part.is_some_and(|part| {
            let mut part = part.iter();
            part.any(|&(rest, i)| rest == "weight" && entries[i].shape.len() == 4)
        })
    };
    let numbers: Vec<usize> = parts.keys().copied().collect();
    let first_block = numbers.iter().position(|&n| has(n, "denselayer1."))?;
    let first = numbers[..first_block].iter().rposition(|&n| is_conv(n))?;
    let norm = *numbers.get(first + 1)?;
    if norm != numbers[first] + 1 || !has(norm, "running_mean") || first + 2 != first_block {
        return None;
    }
    let mut names = vec![
        ("conv0".to_string(), numbers[first]),
        ("norm0".to_string(), norm),
        ("denseblock1".to_string(), numbers[first_block]),
    ];
    let (mut block, mut last) = (1, numbers[first_block]);
    while has(last + 1, "norm.") && has(last + 1, "conv.") && has(last + 2, "denselayer1.") {
        names.push((format!("transition{block}"), last + 1));
        block += 1;
        last += 2;
        names.push((format!("denseblock{block}"), last));
    }
    if has(last + 1, "running_mean") {
        names.push(("norm5".to_string(), last + 1));
    }
    let tensors = names.iter().flat_map(|(name, number)| {
        let part = parts[number].iter();
        part.map(move |(rest, index)| (modern(&format!("features.{name}.{rest}")), *index))
    });
    Some(tensors.collect())
}

/// Returns the name in today's spelling: `…denselayer1.norm.1.weight` becomes `…denselayer1.norm1.weight`.
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
