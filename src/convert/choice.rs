//! Chooses among the networks in a file.
//!
//! A checkpoint can hold the trained weights and their average; a captioner can hold its encoder twice under two names.
//! If only one network is whole, it is chosen. If all whole networks are equal, any of them is. If they differ, the
//! user has to choose.

use std::collections::HashSet;

use super::{Inventory, keras, list, names, places, shortened, sizes, wanted};
use crate::data::import::Archive;
use crate::error::{Error, Result};
use crate::model::DenseNetConfig;

/// A DenseNet in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// The prefix of its tensors' names.
    pub prefix: String,
    /// Its sizes.
    pub config: DenseNetConfig,
}

/// The networks in a file, as far as names and shapes show.
#[derive(Clone, Debug, Default)]
pub struct Survey {
    /// All whole DenseNets.
    pub networks: Vec<Network>,
    /// The tensors that belong to none of them, under their names in the file.
    pub beside: Vec<String>,
    /// The reason why there is no DenseNet, if there is none.
    pub problem: Option<String>,
}

/// Looks for DenseNets in an archive; reads numbers only if names and shapes are ambiguous.
pub fn survey(archive: &mut Archive) -> Survey {
    let all = match inventories(archive) {
        Ok(all) => all,
        Err(problem) => {
            return Survey {
                problem: Some(problem),
                ..Survey::default()
            };
        }
    };
    let mut survey = Survey::default();
    let mut is_beside = vec![true; archive.entries().len()];
    for inventory in all {
        match whole(archive, &inventory) {
            Ok(config) => {
                let mut is_left = vec![false; is_beside.len()];
                inventory.left_out.iter().for_each(|&i| is_left[i] = true);
                for (beside, left) in is_beside.iter_mut().zip(is_left) {
                    *beside &= left;
                }
                survey.networks.push(Network {
                    prefix: inventory.prefix,
                    config,
                });
            }
            Err(problem) => {
                survey.problem.get_or_insert(problem);
            }
        }
    }
    if !survey.networks.is_empty() {
        survey.problem = None;
        let entries = archive.entries().iter().zip(is_beside);
        let beside = entries.filter(|(_, is_beside)| *is_beside);
        survey.beside = beside.map(|(e, _)| e.name.clone()).collect();
    }
    survey
}

/// Chooses the DenseNet to convert.
///
/// # Errors
/// If there is none, or several that differ.
pub(super) fn choose(archive: &mut Archive, prefix: Option<&str>) -> Result<Inventory> {
    let path = archive.path().to_path_buf();
    let refuse = |what: String| Error::file(&path, what);
    let mut all = inventories(archive).map_err(refuse)?;
    if let Some(prefix) = prefix {
        let found = all.iter().position(|i| is_prefix(prefix, &i.prefix));
        return match found {
            Some(at) => Ok(all.swap_remove(at)),
            None => Err(refuse(format!(
                "holds no DenseNet under `{prefix}`, but under {}",
                prefixes(&all)
            ))),
        };
    }
    if all.len() > 1 && all.iter().any(|i| whole(archive, i).is_ok()) {
        all.retain(|i| whole(archive, i).is_ok());
    }
    // The one with the shortest prefix first.
    all.sort_by_key(|i| (i.prefix.matches(['.', '/']).count(), i.prefix.len()));
    let names = prefixes(&all);
    let count = all.len();
    let mut all = all.into_iter();
    let mut first = all
        .next()
        .ok_or_else(|| refuse("holds no DenseNet".into()))?;
    for other in all {
        if !are_same(archive, &first, &other)? {
            return Err(refuse(format!(
                "holds {count} DenseNets, under {names}; choose one by --prefix, as in --prefix '{}'",
                shortened(&other.prefix)
            )));
        }
        // The tensors of an equal network do not count as left out.
        let others: HashSet<usize> = other.left_out.into_iter().collect();
        first.left_out.retain(|i| others.contains(i));
    }
    Ok(first)
}

fn inventories(archive: &mut Archive) -> Result<Vec<Inventory>, String> {
    match archive.format().is_keras() {
        true => keras::inventories(archive),
        false => names::inventories(archive),
    }
}

/// Whether the user's text `said` means `prefix`; the final dot may be missing.
fn is_prefix(said: &str, prefix: &str) -> bool {
    said == prefix || said == prefix.trim_end_matches(['.', '/'])
}

fn prefixes(all: &[Inventory]) -> String {
    let names = all.iter().map(|i| format!("`{}`", shortened(&i.prefix)));
    list(&names.collect::<Vec<_>>())
}

/// Returns the sizes of a network with all tensors that it needs, of the right shapes, and no others.
fn whole(archive: &Archive, inventory: &Inventory) -> Result<DenseNetConfig, String> {
    let config = sizes(inventory)?;
    let wanted = wanted(archive, &config)?;
    places(archive, inventory, &wanted)?;
    Ok(config)
}

/// Whether two whole networks have equal numbers, apart from their classifiers.
fn are_same(archive: &mut Archive, one: &Inventory, other: &Inventory) -> Result<bool> {
    let encoder = |inventory: &Inventory| {
        let found = inventory.found.iter();
        let mut found: Vec<(String, usize)> = found
            .filter(|f| !f.name.starts_with("classifier."))
            .map(|f| (f.name.clone(), f.index))
            .collect();
        found.sort();
        found
    };
    let (one, other) = (encoder(one), encoder(other));
    if one.len() != other.len() {
        return Ok(false);
    }
    for ((name, index), (other_name, other_index)) in one.into_iter().zip(other) {
        let [a, b] = [archive.tensor(index)?, archive.tensor(other_index)?];
        let is_same = name == other_name && a.dims() == b.dims() && a.data() == b.data();
        if !is_same {
            return Ok(false);
        }
    }
    Ok(true)
}
