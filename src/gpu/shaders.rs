//! The WGSL files, and the pipelines that they become.
//!
//! A pipeline is an entry point with its `override` constants filled in, compiled for this device. Each is made when
//! it is needed first, and kept.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use super::Gpu;
use super::detail;
use super::device::lock;
use super::stream::PARAMS;
use crate::error::Result;

macro_rules! shaders {
    ($($name:ident $file:literal),* $(,)?) => {
        /// A file of `shaders/`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum Shader { $($name),* }

        impl Shader {
            /// All of them.
            pub const ALL: &'static [Shader] = &[$(Shader::$name),*];

            /// Its file's name.
            pub fn file(self) -> &'static str {
                match self { $(Shader::$name => concat!($file, ".wgsl")),* }
            }

            /// Its text.
            pub fn source(self) -> &'static str {
                match self { $(Shader::$name => include_str!(concat!("../../shaders/", $file, ".wgsl"))),* }
            }
        }
    };
}

shaders! {
    Adam "adam",
    AttentionLstm "attention_lstm",
    AvgPool2d "avg_pool2d",
    BatchNorm "batch_norm",
    Categorical "categorical",
    ClipGradNorm "clip_grad_norm",
    Concat "concat",
    Conv2d "conv2d",
    Conv2dCooperative "conv2d_cooperative",
    Coverage "coverage",
    CrossEntropy "cross_entropy",
    Dropout "dropout",
    Elementwise "elementwise",
    Embedding "embedding",
    GlobalAvgPool "global_avg_pool",
    KlDiv "kl_div",
    LogSoftmax "log_softmax",
    Lstm "lstm",
    Matmul "matmul",
    MaxPool2d "max_pool2d",
    Mse "mse",
    NormReluPool "norm_relu_pool",
    Reduce "reduce",
    Relu "relu",
    Sgd "sgd",
    TopK "top_k",
    TopKSubgroups "top_k_subgroups",
}

/// In which words a shader is given to the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// As it is written.
    Plain,
    /// With operands of 16 bits.
    Half,
    /// For matrix units of so many rows and columns.
    Matrices(u32),
}

impl Dialect {
    /// The text of `shader` in these words.
    fn text(self, shader: Shader) -> Cow<'static, str> {
        let text = shader.source();
        match self {
            Dialect::Plain | Dialect::Matrices(16) => text.into(),
            Dialect::Half => {
                let halves = text
                    .replace("alias Operand = f32;", "alias Operand = f16;")
                    .replace("alias Operands = vec4<f32>;", "alias Operands = vec4<f16>;");
                format!("enable f16;\n{halves}").into()
            }
            Dialect::Matrices(size) => text
                .replace(
                    "const SIZE: u32 = 16;",
                    &format!("const SIZE: u32 = {size};"),
                )
                .replace("coop_mat16x16", &format!("coop_mat{size}x{size}"))
                .into(),
        }
    }
}

/// What a pipeline is made of.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) shader: Shader,
    pub(super) dialect: Dialect,
    pub(super) entry: &'static str,
    pub(super) constants: Vec<(&'static str, u32)>,
    /// The buffers' numbers, and whether each is written.
    pub(super) writable: Vec<(u32, bool)>,
}

/// A compiled entry point.
pub(super) struct Pipeline {
    pub(super) raw: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

type Modules = HashMap<(Shader, Dialect), wgpu::ShaderModule>;

/// Everything that was compiled so far.
#[derive(Default)]
pub(super) struct Pipelines {
    modules: Modules,
    pipelines: HashMap<Key, Arc<Pipeline>>,
}

impl Gpu {
    /// The pipeline of `key`, made where this is the first time.
    pub(super) fn pipeline(&self, key: &Key) -> Result<Arc<Pipeline>> {
        self.check()?;
        let mut all = lock(&self.0.pipelines);
        if let Some(pipeline) = all.pipelines.get(key) {
            return Ok(pipeline.clone());
        }
        let pipeline = Arc::new(self.compile(&mut all.modules, key)?);
        all.pipelines.insert(key.clone(), pipeline.clone());
        Ok(pipeline)
    }

    fn compile(&self, modules: &mut Modules, key: &Key) -> Result<Pipeline> {
        let device = &self.0.device;
        let scopes = [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation]
            .map(|filter| device.push_error_scope(filter));
        let module = modules.entry((key.shader, key.dialect)).or_insert_with(|| {
            let descriptor = wgpu::ShaderModuleDescriptor {
                label: Some(key.shader.file()),
                source: wgpu::ShaderSource::Wgsl(key.dialect.text(key.shader)),
            };
            let checks = wgpu::ShaderRuntimeChecks {
                force_loop_bounding: false,
                ..wgpu::ShaderRuntimeChecks::checked()
            };
            // SAFETY: indices are checked as always; what is left out is a counter in every loop against shaders that
            // never end, and every loop in `shaders/` counts up to a bound that it does not move, or halves down to zero.
            unsafe { device.create_shader_module_trusted(descriptor, checks) }
        });
        let buffer = |ty, has_dynamic_offset, size| wgpu::BindingType::Buffer {
            ty,
            has_dynamic_offset,
            min_binding_size: std::num::NonZeroU64::new(size),
        };
        let entry = |binding, ty| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty,
            count: None,
        };
        let mut entries = vec![entry(
            0,
            buffer(wgpu::BufferBindingType::Uniform, true, PARAMS),
        )];
        entries.extend(key.writable.iter().map(|&(number, writable)| {
            let storage = wgpu::BufferBindingType::Storage {
                read_only: !writable,
            };
            entry(number, buffer(storage, false, 0))
        }));
        let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor {
            label: Some(key.entry),
            entries: &entries,
        });
        let pipeline_layout = device.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(key.entry),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let constants: Vec<(&str, f64)> = key
            .constants
            .iter()
            .map(|&(name, value)| (name, value.into()))
            .collect();
        let raw = device.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(key.entry),
            layout: Some(&pipeline_layout),
            module,
            entry_point: Some(key.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                constants: &constants,
                // Every shader writes what it reads of it.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        let errors = scopes
            .into_iter()
            .rev()
            .map(|scope| pollster::block_on(scope.pop()));
        if let Some(error) = errors.collect::<Vec<_>>().into_iter().flatten().next() {
            modules.remove(&(key.shader, key.dialect));
            let place = format_args!("{} of {}", key.entry, key.shader.file());
            return Err(self.error(format_args!(
                "its driver does not accept {place}{}; update the driver, or use --device cpu",
                detail(&error)
            )));
        }
        Ok(Pipeline { raw, layout })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpu::naga;

    #[test]
    fn every_file_of_the_folder_is_named_here() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let mut named: Vec<&str> = Shader::ALL.iter().map(|s| s.file()).collect();
        named.sort_unstable();
        assert_eq!(files, named);
    }

    fn check(shader: Shader, dialect: Dialect) {
        let text = dialect.text(shader);
        let module = naga::front::wgsl::parse_str(&text)
            .unwrap_or_else(|e| panic!("{}", e.emit_to_string_with_path(&text, shader.file())));
        let flags = naga::valid::ValidationFlags::all();
        // What every device can do, but for those files that are for devices that can do more.
        let capabilities = match (dialect, shader) {
            (Dialect::Plain, Shader::TopKSubgroups) => naga::valid::Capabilities::SUBGROUP,
            (Dialect::Plain, _) => naga::valid::Capabilities::default(),
            _ => naga::valid::Capabilities::all(),
        };
        let mut validator = naga::valid::Validator::new(flags, capabilities);
        validator
            .validate(&module)
            .unwrap_or_else(|e| panic!("{}", e.emit_to_string_with_path(&text, shader.file())));
        let stem = shader.file().trim_end_matches(".wgsl");
        assert!(!module.entry_points.is_empty(), "{stem} has no entry point");
        for entry in &module.entry_points {
            let named = entry.name.starts_with(stem);
            assert!(named, "{} of {}", entry.name, shader.file());
        }
        let mut variables = module.global_variables.iter();
        let uniform = variables.any(|(_, v)| v.space == naga::AddressSpace::Uniform);
        assert!(uniform, "{stem} has no parameters");
    }

    #[test]
    fn every_shader_is_valid_without_a_device() {
        for &shader in Shader::ALL {
            if shader != Shader::Conv2dCooperative {
                check(shader, Dialect::Plain);
            }
        }
        check(Shader::Conv2d, Dialect::Half);
        check(Shader::Conv2dCooperative, Dialect::Matrices(8));
        check(Shader::Conv2dCooperative, Dialect::Matrices(16));
    }

    #[test]
    fn dialects_differ_where_they_should() {
        let texts = [Dialect::Plain, Dialect::Half].map(|d| d.text(Shader::Conv2d));
        let changed = texts[0].lines().zip(texts[1].lines().skip(1));
        assert_eq!(changed.filter(|(a, b)| a != b).count(), 2);
        let texts = [16, 8].map(|n| Dialect::Matrices(n).text(Shader::Conv2dCooperative));
        let changed = texts[0].lines().zip(texts[1].lines());
        assert_eq!(changed.filter(|(a, b)| a != b).count(), 4);
    }

    #[test]
    fn what_a_driver_does_not_accept_is_named() {
        let Some(gpu) = crate::gpu::device::tests::open() else {
            return;
        };
        let y = gpu.unset(1).unwrap().into();
        let unknown = gpu
            .kernel(Shader::Relu, "relu_nowhere")
            .write(3, &y)
            .over(1);
        let text = unknown.unwrap_err().to_string();
        assert!(
            text.contains("relu_nowhere of relu.wgsl") && !text.contains('\n'),
            "{text}"
        );
        // Nothing else is spoilt by that.
        assert!(gpu.check().is_ok());
        assert_eq!(
            gpu.read::<f32>(&gpu.zeros(1).unwrap().into(), 1).unwrap(),
            [0.0]
        );
    }
}
