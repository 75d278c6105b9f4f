//! Finds a DenseNet whose layers have no names, by the order and shapes of its network's layers.
//!
//! Layers are numbered by class, so the file gives a sequence of convolutions and a sequence of batch norms. The
//! convolutions of a DenseNet form a characteristic chain: 7x7 on three channels, then pairs of 1x1 and 3x3 whose
//! channels grow by a constant, with a 1x1 between blocks that halves them, all without a bias. The chain determines
//! the channels of each batch norm. If the sequence of batch norms is longer than the DenseNet's, the DenseNet's must
//! fit into it as a subsequence in exactly one way.

/// A convolution.
pub(super) struct Conv {
    /// `[kh, kw, C, O]`.
    pub(super) shape: [usize; 4],
    pub(super) has_bias: bool,
}

/// A DenseNet that was found in the sequences.
#[derive(Debug, PartialEq)]
pub(super) struct Ordered {
    /// Keras' names of the convolutions, and their positions in the sequence.
    pub(super) convs: Vec<(String, usize)>,
    pub(super) norms: Vec<(String, usize)>,
    /// The candidates for the last batch norm, if several of its size follow all others.
    pub(super) last: Vec<usize>,
}

/// The chain of a DenseNet's convolutions, and the batch norms that follow from it.
struct Chain {
    convs: Vec<(String, usize)>,
    /// The name and the channels of each batch norm.
    norms: Vec<(String, usize)>,
    end: usize,
    bottleneck: usize,
}

/// Finds the DenseNet among a network's convolutions and batch norms (given by their channels); `None` if there is
/// none.
///
/// # Errors
/// If there is one, but it cannot be determined which layers belong to it; the error is the message's text.
pub(super) fn find(
    convs: &[Option<Conv>],
    norms: &[Option<usize>],
) -> Option<Result<Ordered, String>> {
    let mut runs = (0..convs.len()).filter_map(|first| chain(convs, first));
    let found = runs.next()?;
    if runs.next().is_some() {
        return Some(Err(
            "holds several DenseNets whose layers have no names".to_string()
        ));
    }
    // Another branch of the network between its layers would end the chain too early.
    let is_torn = (found.end..convs.len()).any(|i| {
        plain(convs, i).is_some_and(|[kh, kw, _, out]| [kh, kw, out] == [1, 1, found.bottleneck])
    });
    if is_torn {
        return Some(Err(
            "holds a DenseNet with other convolutions between its own".to_string(),
        ));
    }
    Some(place_norms(found, norms))
}

/// Determines which batch norms of the sequence belong to the DenseNet.
fn place_norms(chain: Chain, row: &[Option<usize>]) -> Result<Ordered, String> {
    let wanted: Vec<usize> = chain.norms.iter().map(|(_, channels)| *channels).collect();
    let earliest = fit(wanted.iter(), row.iter());
    let latest = fit(wanted.iter().rev(), row.iter().rev());
    let (Some(earliest), Some(latest)) = (earliest, latest) else {
        return Err(format!(
            "holds the convolutions of a DenseNet, and not the {} batch norms that belong to them",
            wanted.len()
        ));
    };
    let latest = latest.into_iter().rev().map(|i| row.len() - 1 - i);
    let ways: Vec<(usize, usize)> = earliest.into_iter().zip(latest).collect();
    let last = ways.len() - 1;
    if ways[..last].iter().any(|(a, b)| a != b) {
        return Err(format!(
            "holds a DenseNet of {} batch norms among {} whose layers have no names, and more than one way to choose them",
            wanted.len(),
            row.len()
        ));
    }
    let (from, to) = ways[last];
    let places = ways.iter().map(|(a, _)| *a);
    Ok(Ordered {
        convs: chain.convs,
        norms: chain
            .norms
            .into_iter()
            .map(|(name, _)| name)
            .zip(places)
            .collect(),
        last: (from..=to)
            .filter(|&i| row[i] == Some(wanted[last]))
            .collect(),
    })
}

/// Returns the positions of the wanted batch norms in the sequence, each as early as possible.
fn fit<'a>(
    wanted: impl Iterator<Item = &'a usize>,
    row: impl Iterator<Item = &'a Option<usize>>,
) -> Option<Vec<usize>> {
    let mut row = row.enumerate();
    let place = |want: &usize| row.find(|(_, has)| **has == Some(*want)).map(|(i, _)| i);
    wanted.map(place).collect()
}

/// Returns the shape of convolution `i`, if it has no bias.
fn plain(convs: &[Option<Conv>], i: usize) -> Option<[usize; 4]> {
    let conv = convs.get(i)?.as_ref()?;
    (!conv.has_bias).then_some(conv.shape)
}

/// Follows the chain that begins with convolution `first`.
fn chain(convs: &[Option<Conv>], first: usize) -> Option<Chain> {
    let [7, 7, 3, stem] = plain(convs, first)? else {
        return None;
    };
    let [1, 1, _, bottleneck] = plain(convs, first + 1)? else {
        return None;
    };
    let [3, 3, _, growth] = plain(convs, first + 2)? else {
        return None;
    };
    // Whether a layer of a dense block on this many channels begins at `i`.
    let is_layer = |i: usize, channels: usize| {
        plain(convs, i) == Some([1, 1, channels, bottleneck])
            && plain(convs, i + 1) == Some([3, 3, bottleneck, growth])
    };
    if !is_layer(first + 1, stem) {
        return None;
    }
    let mut chain = Chain {
        convs: vec![("conv1_conv".to_string(), first)],
        norms: vec![("conv1_bn".to_string(), stem)],
        end: first + 1,
        bottleneck,
    };
    let (mut channels, mut block, mut layer) = (stem, 2, 1);
    loop {
        let half = channels / 2;
        if is_layer(chain.end, channels) {
            let name = format!("conv{block}_block{layer}");
            chain.convs.push((format!("{name}_1_conv"), chain.end));
            chain.convs.push((format!("{name}_2_conv"), chain.end + 1));
            chain.norms.push((format!("{name}_0_bn"), channels));
            chain.norms.push((format!("{name}_1_bn"), bottleneck));
            (chain.end, layer, channels) =
                (chain.end + 2, layer + 1, channels.checked_add(growth)?);
        } else if plain(convs, chain.end) == Some([1, 1, channels, half])
            && is_layer(chain.end + 1, half)
        {
            chain.convs.push((format!("pool{block}_conv"), chain.end));
            chain.norms.push((format!("pool{block}_bn"), channels));
            (chain.end, block, layer, channels) = (chain.end + 1, block + 1, 1, half);
        } else {
            break;
        }
    }
    chain.norms.push(("bn".to_string(), channels));
    Some(chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stem 8, growth 4, bottleneck 8, blocks of two layers and of one.
    fn convs() -> Vec<Option<Conv>> {
        let shapes = [
            [7, 7, 3, 8],
            [1, 1, 8, 8],
            [3, 3, 8, 4],
            [1, 1, 12, 8],
            [3, 3, 8, 4],
            [1, 1, 16, 8],
            [1, 1, 8, 8],
            [3, 3, 8, 4],
        ];
        shapes.map(|shape| conv(shape, false)).into()
    }

    fn conv(shape: [usize; 4], has_bias: bool) -> Option<Conv> {
        Some(Conv { shape, has_bias })
    }

    const NORMS: [usize; 9] = [8, 8, 8, 12, 8, 16, 8, 8, 12];

    fn row(norms: &[usize]) -> Vec<Option<usize>> {
        norms.iter().copied().map(Some).collect()
    }

    fn places(found: Ordered) -> Vec<usize> {
        found.norms.into_iter().map(|(_, i)| i).collect()
    }

    #[test]
    fn the_network_alone_is_found() {
        let found = find(&convs(), &row(&NORMS)).unwrap().unwrap();
        assert_eq!(found.convs[6], ("conv3_block1_1_conv".to_string(), 6));
        assert_eq!(found.convs[5], ("pool2_conv".to_string(), 5));
        assert_eq!(found.norms[5], ("pool2_bn".to_string(), 5));
        assert_eq!(found.last, [8]);
        assert_eq!(places(found), (0..9).collect::<Vec<_>>());
    }

    #[test]
    fn what_is_before_and_after_is_not_taken_for_its_own() {
        let mut all = convs();
        all.insert(0, conv([3, 3, 1, 3], true));
        all.push(conv([1, 1, 12, 6], false));
        all.push(conv([3, 3, 6, 4], false));
        let norms = [&[3], &NORMS[..], &[6, 4]].concat();
        let found = find(&all, &row(&norms)).unwrap().unwrap();
        assert_eq!(found.convs[0].1, 1);
        assert_eq!(found.convs.len(), 8);
        assert_eq!(places(found), (1..10).collect::<Vec<_>>());
        // It has the size of the last one, so either may be it.
        let found = find(&convs(), &row(&[&NORMS[..], &[12]].concat()));
        assert_eq!(found.unwrap().unwrap().last, [8, 9]);
    }

    #[test]
    fn what_cannot_be_told_is_refused() {
        let message = |convs: &[Option<Conv>], norms: &[usize]| {
            find(convs, &row(norms)).unwrap().unwrap_err()
        };
        let extra = [&[8], &NORMS[..]].concat();
        assert!(message(&convs(), &extra).contains("more than one way"));
        assert!(message(&convs(), &NORMS[..8]).contains("not the 9 batch norms"));
        let mut torn = convs();
        torn.insert(3, conv([3, 3, 8, 8], true));
        assert!(message(&torn, &NORMS).contains("between its own"));
        let twice: Vec<_> = convs().into_iter().chain(convs()).collect();
        assert!(message(&twice, &NORMS).contains("several DenseNets"));
    }

    #[test]
    fn another_network_is_none() {
        let resnet = [[7, 7, 3, 8], [1, 1, 8, 4], [3, 3, 4, 4], [1, 1, 4, 16]];
        let found = find(&resnet.map(|s| conv(s, true)), &row(&[8, 4, 4, 16]));
        assert_eq!(found, None);
        let mut biased = convs();
        biased[0] = conv([7, 7, 3, 8], true);
        assert_eq!(find(&biased, &row(&NORMS)), None);
        assert_eq!(find(&[None], &row(&NORMS)), None);
    }
}
