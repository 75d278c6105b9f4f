//! Floor 6: converts weights in the usual formats to an encoder of Glimpse.
//!
//! PyTorch and Keras use different names and layouts for the same tensors; `names` and `keras` handle them. The result
//! has torchvision's names and layout, so that other programs can read it too, and a description of its origin. A file
//! is accepted only if it contains a whole DenseNet: every tensor present, of the right shape, and finite. Otherwise it
//! is refused with the first fault.

mod choice;
mod keras;
mod names;
mod verify;

use std::path::Path;

pub use self::choice::{Network, Survey, survey};
pub use self::verify::{Classes, Layer, Photo, Report, Spread, verify};

use crate::data::import::Archive;
use crate::data::weights::{Entry, NumberFormat};
use crate::data::{Method, Recipe};
use crate::error::{Error, Result};
use crate::model::file::{self, FORMAT};
use crate::model::{DenseNet, DenseNetConfig, Description, Kind, Origin};
use crate::nn::{Init, Module};
use crate::tensor::Tensor;

/// The options of a conversion.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The name of the published network that the file must contain.
    pub arch: Option<String>,
    /// The precision in which numbers are stored.
    pub precision: NumberFormat,
    /// The preprocessing of the encoder's input, if it differs from the default of the file's origin.
    pub recipe: Option<Recipe>,
    /// The address that the file was downloaded from.
    pub url: Option<String>,
    /// The prefix of the tensors' names, which selects one of several networks in the file.
    pub prefix: Option<String>,
}

/// A DenseNet from a foreign file.
pub struct Converted {
    /// The description that its file will contain.
    pub description: Description,
    /// Its tensors under torchvision's names, rounded as they will be stored.
    pub tensors: Vec<(String, Tensor)>,
    /// The classifier, if the file has one: `[classes, C]` and `[classes]`. Its tensors are among `tensors` too.
    pub classifier: Option<[Tensor; 2]>,
    /// The tensors of the file that are not part of it, under their names there.
    pub left_out: Vec<String>,
    /// The names of the Python classes and functions that the file refers to beside its tensors; none of these objects
    /// was created.
    pub passed_over: Vec<String>,
}

/// A tensor of the DenseNet that was located in the archive.
struct Located {
    /// The name in torchvision.
    name: String,
    /// Its index in the archive.
    index: usize,
    /// The shape in torchvision.
    shape: Vec<usize>,
    layout: Layout,
}

/// The layout of a tensor in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// That of torchvision.
    Same,
    /// A kernel `[kh, kw, C, O]`, in torchvision `[O, C, kh, kw]`.
    Hwio,
    /// A matrix `[in, out]`, in torchvision `[out, in]`.
    Transposed,
}

/// The tensors of a DenseNet in an archive, under torchvision's names.
struct Inventory {
    found: Vec<Located>,
    /// The indices of entries that are not part of it.
    left_out: Vec<usize>,
    /// The batch norms' epsilon, which is added to variances.
    eps: f32,
    recipe: Recipe,
    framework: &'static str,
    /// The prefix of its names in the file.
    prefix: String,
}

/// Reads the DenseNet in the file at `path`.
///
/// # Errors
/// If the file cannot be read, asks for code to be executed, does not hold a whole DenseNet, or holds another one than
/// `options` ask for; the message names the tensor that did not fit.
pub fn convert(path: &Path, options: &Options) -> Result<Converted> {
    convert_archive(&mut Archive::open(path)?, options)
}

/// Reads the DenseNet in an archive that is already open.
///
/// # Errors
/// If the archive asks for code to be executed, does not hold a whole DenseNet, or holds another one than `options` ask
/// for.
pub fn convert_archive(archive: &mut Archive, options: &Options) -> Result<Converted> {
    let path = archive.path().to_path_buf();
    let refuse = |what: String| Error::file(&path, what);
    let inventory = choice::choose(archive, options.prefix.as_deref())?;
    let config = sizes(&inventory).map_err(refuse)?;
    check_arch(&config, options.arch.as_deref()).map_err(refuse)?;
    let wanted = wanted(archive, &config).map_err(refuse)?;
    let places = places(archive, &inventory, &wanted).map_err(refuse)?;
    let mut tensors = Vec::with_capacity(wanted.len() + 2);
    for (found, (name, _)) in places.into_iter().zip(wanted) {
        tensors.push((name, read(archive, found, options.precision)?));
    }
    let classifier = classifier(archive, &inventory, config.features(), options.precision)?;
    if let Some([weight, bias]) = &classifier {
        tensors.push(("classifier.weight".to_string(), weight.clone()));
        tensors.push(("classifier.bias".to_string(), bias.clone()));
    }
    let mut left_out = inventory.left_out.clone();
    if classifier.is_none() {
        let head = inventory.found.iter();
        let head = head.filter(|f| f.name.starts_with("classifier."));
        left_out.extend(head.map(|f| f.index));
    }
    let name = |&i: &usize| archive.entries()[i].name.clone();
    let left_out = left_out.iter().map(name).collect();
    Ok(Converted {
        description: describe(archive, &inventory, config, options),
        tensors,
        classifier,
        left_out,
        passed_over: archive.passed_over().to_vec(),
    })
}

/// Returns the names and shapes of a DenseNet's tensors.
///
/// # Errors
/// If the file is too small for them.
fn wanted(archive: &Archive, config: &DenseNetConfig) -> Result<Vec<(String, Vec<usize>)>, String> {
    // Shapes are not trusted before the data is read; a number takes at least a byte.
    if config.elements() > archive.size() as u128 {
        return Err(format!(
            "speaks of {} numbers and has {} bytes; it is not whole, or not what it says",
            config.elements(),
            archive.size()
        ));
    }
    let mut net = DenseNet::new(config, &mut Init::blank()).map_err(|e| e.to_string())?;
    let mut wanted = Vec::new();
    net.visit("", &mut |name, _, tensor| {
        wanted.push((name.to_string(), tensor.dims().to_vec()));
    });
    Ok(wanted)
}

impl Converted {
    /// Builds the network.
    ///
    /// # Errors
    /// None for the result of [`convert`].
    pub fn network(&self) -> Result<DenseNet> {
        let mut net = DenseNet::new(&self.description.encoder, &mut Init::blank())?;
        let mut tensors = self.tensors.iter();
        net.visit("", &mut |name, _, tensor| {
            if let Some((_, found)) = tensors.by_ref().find(|(other, _)| other == name) {
                *tensor = found.clone();
            }
        });
        Ok(net)
    }

    /// Writes the network to `path`, atomically.
    ///
    /// # Errors
    /// If the file cannot be written; a previous file is then unchanged.
    pub fn write(&self, path: &Path, precision: NumberFormat) -> Result<()> {
        file::write(path, &self.description, &self.tensors, precision)
    }
}

/// Determines the network's sizes from the shapes.
fn sizes(inventory: &Inventory) -> Result<DenseNetConfig, String> {
    DenseNetConfig::infer(inventory.eps, |name| {
        let found = inventory.found.iter().find(|f| f.name == name);
        found.map(|f| f.shape.clone())
    })
}

fn check_arch(config: &DenseNetConfig, wanted: Option<&str>) -> Result<(), String> {
    match (wanted, config.name()) {
        (None, _) => Ok(()),
        (Some(wanted), Some(name)) if wanted == name => Ok(()),
        (Some(wanted), Some(name)) => {
            Err(format!("is a {name}, not the {wanted} that was asked for"))
        }
        (Some(wanted), None) => Err(format!(
            "is a DenseNet of growth {}, blocks {:?} and stem {}, not the {wanted} that was asked for",
            config.growth, config.blocks, config.stem
        )),
    }
}

/// Describes the contents of a file without a DenseNet: its tensors, so that the user sees what it is. `missing` names
/// tensors that a DenseNet would have.
fn unknown(archive: &Archive, missing: &str) -> String {
    const SHOWN: usize = 3;
    let entries = archive.entries();
    let passed: Vec<String> = archive.passed_over().iter().map(|n| shortened(n)).collect();
    let passed = match &passed[..] {
        [] => String::new(),
        names => format!("; passed over, not executed: {}", list(names)),
    };
    if entries.is_empty() {
        return format!("holds no tensors{passed}");
    }
    // Kernels and matrices tell more about a network than its biases.
    let (large, small): (Vec<&Entry>, _) = entries.iter().partition(|e| e.shape.len() > 1);
    let shown = large.into_iter().chain(small).take(SHOWN);
    let shown: Vec<String> = shown
        .map(|e| format!("`{}` {:?}", shortened(&e.name), e.shape))
        .collect();
    let count = match entries.len() {
        1 => "one tensor".to_string(),
        n => format!("{n} tensors such as"),
    };
    format!(
        "holds no DenseNet: {count} {}; a DenseNet has {missing}{passed}",
        shown.join(", ")
    )
}

/// Shortens a long name to its beginning.
fn shortened(name: &str) -> String {
    const MAX_CHARS: usize = 100;
    match name.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &name[..end]),
        None => name.to_string(),
    }
}

/// Locates each wanted tensor.
///
/// # Errors
/// If a tensor is missing or has another shape, or there are tensors that such a network would not have; the message
/// names the first.
fn places<'a>(
    archive: &Archive,
    inventory: &'a Inventory,
    wanted: &[(String, Vec<usize>)],
) -> Result<Vec<&'a Located>, String> {
    let mut places = Vec::with_capacity(wanted.len());
    let mut missing = Vec::new();
    for (name, shape) in wanted {
        let mut found = inventory.found.iter().filter(|f| f.name == *name);
        match (found.next(), found.next()) {
            (None, _) => missing.push(format!("`{name}` {shape:?}")),
            (Some(_), Some(_)) => return Err(format!("has the tensor `{name}` twice")),
            (Some(found), None) if found.shape != *shape => {
                return Err(format!(
                    "tensor `{name}` is {:?}, a DenseNet of these sizes needs {shape:?}",
                    found.shape
                ));
            }
            (Some(found), None) => places.push(found),
        }
    }
    if !missing.is_empty() {
        return Err(match missing.len() {
            1 => format!("tensor {} is missing", missing[0]),
            n => format!("{n} tensors are missing: {}", list(&missing)),
        });
    }
    let extra = inventory.found.iter().filter(|f| {
        !f.name.starts_with("classifier.") && !wanted.iter().any(|(name, _)| f.name == *name)
    });
    let extra: Vec<String> = extra
        .map(|f| format!("`{}`", archive.entries()[f.index].name))
        .collect();
    match extra.as_slice() {
        [] => Ok(places),
        names => Err(format!(
            "is another network: no DenseNet of these sizes has {}",
            list(names)
        )),
    }
}

/// Lists the first few names, and the number of the others.
fn list(names: &[String]) -> String {
    const SHOWN: usize = 8;
    let first = names[..names.len().min(SHOWN)].join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// Reads a tensor in torchvision's layout, rounded as it will be stored.
fn read(archive: &mut Archive, found: &Located, precision: NumberFormat) -> Result<Tensor> {
    let tensor = archive.tensor(found.index)?;
    let tensor = match found.layout {
        Layout::Same => tensor,
        Layout::Hwio => Tensor::from(&tensor.view().permuted_axes(vec![3, 2, 0, 1])),
        Layout::Transposed => Tensor::from(&tensor.view().permuted_axes(vec![1, 0])),
    };
    let refuse = |what: String| Error::file(archive.path(), what);
    let name = &found.name;
    if let Some(at) = tensor.data().iter().position(|x| !x.is_finite()) {
        let x = tensor.data()[at];
        return Err(refuse(format!(
            "tensor `{name}` holds {x} at {at}, which is not a finite number"
        )));
    }
    if name.ends_with("running_var")
        && let Some(at) = tensor.data().iter().position(|&x| x < 0.0)
    {
        let x = tensor.data()[at];
        return Err(refuse(format!(
            "variance `{name}` is {x} at {at}; none is below zero"
        )));
    }
    if precision == NumberFormat::F32 {
        return Ok(tensor);
    }
    let rounded = precision.round(&tensor)?;
    if rounded.data().iter().any(|x| !x.is_finite()) {
        return Err(refuse(format!(
            "tensor `{name}` has numbers beyond the range of {}; take bf16 or f32",
            precision.name()
        )));
    }
    Ok(rounded)
}

/// Returns the weight `[classes, C]` and the bias `[classes]` of the classifier, if there is one for `features` channels.
fn classifier(
    archive: &mut Archive,
    inventory: &Inventory,
    features: usize,
    precision: NumberFormat,
) -> Result<Option<[Tensor; 2]>> {
    let find = |name: &str| inventory.found.iter().find(|f| f.name == name);
    let (Some(weight), Some(bias)) = (find("classifier.weight"), find("classifier.bias")) else {
        return Ok(None);
    };
    match (&weight.shape[..], &bias.shape[..]) {
        (&[classes, c], &[same]) if c == features && classes == same => Ok(Some([
            read(archive, weight, precision)?,
            read(archive, bias, precision)?,
        ])),
        _ => Ok(None),
    }
}

fn describe(
    archive: &Archive,
    inventory: &Inventory,
    encoder: DenseNetConfig,
    options: &Options,
) -> Description {
    let file = archive.path().file_name().unwrap_or_default();
    Description {
        format: FORMAT,
        kind: Kind::Encoder,
        encoder,
        decoder: None,
        vocabulary: None,
        recipe: options.recipe.unwrap_or(inventory.recipe),
        tags: None,
        recognition: None,
        origin: Some(Origin {
            file: file.to_string_lossy().into_owned(),
            sha256: archive.sha256(),
            format: archive.format().name().to_string(),
            framework: inventory.framework.to_string(),
            url: options.url.clone(),
        }),
        training: Default::default(),
        metrics: Default::default(),
    }
}

/// Returns the preprocessing that Keras documents for its DenseNets: both sides to 224 by the nearest pixel.
fn keras_recipe() -> Result<Recipe, String> {
    Recipe::new(Method::KerasNearest, crate::data::preprocess::DEFAULT_SIZE)
        .map_err(|e| e.to_string())
}

/// Reads the description in a file that Glimpse wrote.
fn own_description(archive: &Archive) -> Result<Option<Description>, String> {
    let description = archive.weights().map(Description::read).transpose();
    description.map(Option::flatten).map_err(|e| match e {
        Error::File { what, .. } => what,
        other => other.to_string(),
    })
}
