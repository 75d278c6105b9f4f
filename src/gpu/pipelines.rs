//! The pipelines, compiled from the WGSL files.
//!
//! A pipeline is an entry point with its `override` constants filled in, compiled for this GPU. Each is compiled when it is
//! first needed, and cached.

use std::collections::HashMap;
use std::sync::Arc;

use super::ON_THE_CPU;
use super::shaders::{Shader, Variant};

/// Bytes of a dispatch's parameters at most.
pub(super) const PARAMS: u64 = 256;

/// Everything that distinguishes one pipeline from another.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct PipelineKey {
    pub(super) shader: Shader,
    pub(super) variant: Variant,
    pub(super) entry: &'static str,
    pub(super) constants: Vec<(&'static str, u32)>,
    /// The binding numbers, and whether each buffer is written.
    pub(super) writable: Vec<(u32, bool)>,
}

/// A compiled entry point.
pub(super) struct Pipeline {
    pub(super) raw: wgpu::ComputePipeline,
    pub(super) layout: wgpu::BindGroupLayout,
}

type Modules = HashMap<(Shader, Variant), wgpu::ShaderModule>;

/// The cache of compiled shaders.
#[derive(Default)]
pub(super) struct Pipelines {
    modules: Modules,
    pipelines: HashMap<PipelineKey, Arc<Pipeline>>,
}

impl Pipelines {
    /// Returns the pipeline of `key`, compiling it at the first request.
    ///
    /// # Errors
    /// A message that names the entry point that the driver does not accept, and the driver's error.
    pub(super) fn get(
        &mut self,
        device: &wgpu::Device,
        key: &PipelineKey,
    ) -> Result<Arc<Pipeline>, (String, wgpu::Error)> {
        if let Some(pipeline) = self.pipelines.get(key) {
            return Ok(pipeline.clone());
        }
        let pipeline = Arc::new(Self::compile(device, &mut self.modules, key)?);
        self.pipelines.insert(key.clone(), pipeline.clone());
        Ok(pipeline)
    }

    fn compile(
        device: &wgpu::Device,
        modules: &mut Modules,
        key: &PipelineKey,
    ) -> Result<Pipeline, (String, wgpu::Error)> {
        let scopes = [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::Validation]
            .map(|filter| device.push_error_scope(filter));
        let module = modules.entry((key.shader, key.variant)).or_insert_with(|| {
            let descriptor = wgpu::ShaderModuleDescriptor {
                label: Some(key.shader.file()),
                source: wgpu::ShaderSource::Wgsl(key.variant.text(key.shader).into()),
            };
            let checks = wgpu::ShaderRuntimeChecks {
                force_loop_bounding: false,
                ..wgpu::ShaderRuntimeChecks::checked()
            };
            // SAFETY: indices are checked as always. Only the counters that end endless loops are left out. No loop in
            // `shaders/` is endless: each counts up to a bound that it does not change, or halves a number down to zero.
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
                // Every shader writes its workgroup memory before it reads it.
                zero_initialize_workgroup_memory: false,
            },
            cache: None,
        });
        let errors = scopes
            .into_iter()
            .rev()
            .map(|scope| pollster::block_on(scope.pop()));
        if let Some(error) = errors.collect::<Vec<_>>().into_iter().flatten().next() {
            modules.remove(&(key.shader, key.variant));
            let place = format_args!("{} of {}", key.entry, key.shader.file());
            let what =
                format!("its driver does not accept {place}; update the driver, or {ON_THE_CPU}");
            return Err((what, error));
        }
        Ok(Pipeline { raw, layout })
    }
}

/// Fails unless the fields of `P` are those of `struct Params` in the WGSL files of `P`: names, offsets, types, and how many.
#[cfg(test)]
pub(crate) fn check_params<P: super::params::Params>() {
    use wgpu::naga::{self, Scalar, TypeInner, VectorSize};
    for &shader in P::SHADERS {
        let module = naga::front::wgsl::parse_str(&Variant::Plain.text(shader)).unwrap();
        let mut structs = module.types.iter();
        let (_, found) = structs
            .find(|(_, kind)| kind.name.as_deref() == Some("Params"))
            .unwrap_or_else(|| panic!("{} has no struct Params", shader.file()));
        let TypeInner::Struct { members, .. } = &found.inner else {
            panic!("Params of {} is no struct", shader.file());
        };
        let in_shader: Vec<(&str, usize, &str)> = members
            .iter()
            .map(|member| {
                let kind = match module.types[member.ty].inner {
                    TypeInner::Scalar(Scalar::U32) => "u32",
                    TypeInner::Scalar(Scalar::F32) => "f32",
                    TypeInner::Vector {
                        size: VectorSize::Quad,
                        scalar: Scalar::U32,
                    } => "[u32; 4]",
                    ref other => panic!("{}: {other:?} is not known here", shader.file()),
                };
                let name = member.name.as_deref().unwrap_or_default();
                (name, member.offset as usize, kind)
            })
            .collect();
        assert_eq!(P::FIELDS, in_shader, "Params of {}", shader.file());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wgpu::naga;

    fn check(shader: Shader, variant: Variant) {
        let text = variant.text(shader);
        let module = naga::front::wgsl::parse_str(&text)
            .unwrap_or_else(|e| panic!("{}", e.emit_to_string_with_path(&text, shader.file())));
        let flags = naga::valid::ValidationFlags::all();
        // The capabilities of every GPU, except for the files and variants that need more.
        let capabilities = match (variant, shader) {
            (Variant::Plain, Shader::TopKSubgroups) => naga::valid::Capabilities::SUBGROUP,
            (Variant::Plain, _) => naga::valid::Capabilities::default(),
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
                check(shader, Variant::Plain);
            }
        }
        check(Shader::Conv2d, Variant::Half);
        check(Shader::Conv2dCooperative, Variant::Matrices(8));
        check(Shader::Conv2dCooperative, Variant::Matrices(16));
    }

    #[test]
    fn variants_differ_where_they_should() {
        let texts = [Variant::Plain, Variant::Half].map(|d| d.text(Shader::Conv2d));
        let changed = texts[0].lines().zip(texts[1].lines().skip(1));
        assert_eq!(changed.filter(|(a, b)| a != b).count(), 2);
        let texts = [16, 8].map(|n| Variant::Matrices(n).text(Shader::Conv2dCooperative));
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
        // Later calls are not affected by the error.
        assert!(gpu.check().is_ok());
        assert_eq!(
            gpu.read::<f32>(&gpu.zeros(1).unwrap().into(), 1).unwrap(),
            [0.0]
        );
    }
}
