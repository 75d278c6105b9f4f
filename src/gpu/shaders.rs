//! The WGSL files, and the pipelines that they become.
//!
//! A pipeline is an entry point with its `override` constants filled in, compiled for this device. Each is made when
//! it is needed first, and kept.

use std::collections::HashMap;
use std::sync::Arc;

use super::Gpu;
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
    AvgPool2d "avg_pool2d",
    BatchNorm "batch_norm",
    ClipGradNorm "clip_grad_norm",
    Concat "concat",
    Conv2d "conv2d",
    CrossEntropy "cross_entropy",
    Dropout "dropout",
    Elementwise "elementwise",
    Embedding "embedding",
    GlobalAvgPool "global_avg_pool",
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
}

/// What a pipeline is made of.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) shader: Shader,
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

/// Everything that was compiled so far.
#[derive(Default)]
pub(super) struct Pipelines {
    modules: HashMap<Shader, wgpu::ShaderModule>,
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

    fn compile(
        &self,
        modules: &mut HashMap<Shader, wgpu::ShaderModule>,
        key: &Key,
    ) -> Result<Pipeline> {
        let device = &self.0.device;
        let scopes = [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation]
            .map(|filter| device.push_error_scope(filter));
        let module = modules.entry(key.shader).or_insert_with(|| {
            let descriptor = wgpu::ShaderModuleDescriptor {
                label: Some(key.shader.file()),
                source: wgpu::ShaderSource::Wgsl(key.shader.source().into()),
            };
            let checks = wgpu::ShaderRuntimeChecks {
                force_loop_bounding: false,
                ..wgpu::ShaderRuntimeChecks::checked()
            };
            // SAFETY: indices are checked as always; what is left out is a counter in every loop against shaders that
            // never end, and every loop in `shaders/` counts up to a bound that it does not move.
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
            modules.remove(&key.shader);
            let place = format_args!("{} of {}", key.entry, key.shader.file());
            return Err(self.error(format_args!(
                "its driver does not accept {place}: {error}; update the driver, or use --device cpu"
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

    #[test]
    fn every_shader_is_valid_without_a_device() {
        for shader in Shader::ALL {
            let module = naga::front::wgsl::parse_str(shader.source()).unwrap_or_else(|e| {
                panic!(
                    "{}",
                    e.emit_to_string_with_path(shader.source(), shader.file())
                )
            });
            let flags = naga::valid::ValidationFlags::all();
            let mut validator =
                naga::valid::Validator::new(flags, naga::valid::Capabilities::default());
            validator.validate(&module).unwrap_or_else(|e| {
                panic!(
                    "{}",
                    e.emit_to_string_with_path(shader.source(), shader.file())
                )
            });
            let stem = shader.file().trim_end_matches(".wgsl");
            assert!(!module.entry_points.is_empty(), "{stem} has no entry point");
            for entry in &module.entry_points {
                assert!(
                    entry.name.starts_with(stem),
                    "{} of {}",
                    entry.name,
                    shader.file()
                );
                let binding = |v: &naga::GlobalVariable| v.space == naga::AddressSpace::Uniform;
                assert!(
                    module.global_variables.iter().any(|(_, v)| binding(v)),
                    "{stem} has no parameters"
                );
            }
        }
    }
}
