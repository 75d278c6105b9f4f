//! The parameters of a shader, as a Rust struct beside the WGSL one.

use bytemuck::Pod;

use super::shaders::Shader;

/// The uniform block of a shader: a Rust struct with the fields of the shader's `struct Params`. `shader_params!`
/// declares one.
pub trait Params: Pod {
    /// The shaders whose `struct Params` this is.
    const SHADERS: &'static [Shader];
    /// Name, offset in bytes, and Rust type of each field, in their order.
    const FIELDS: &'static [(&'static str, usize, &'static str)];
}

/// Declares the uniform block of a shader, with the names, types and order of the fields in the shader's `struct Params`.
///
/// A test that comes with the declaration parses the WGSL file and compares both, so that every value reaches the field
/// of its name. The types are `u32`, `f32`, and `[u32; 4]` for a `vec4<u32>`. A module declares at most one.
macro_rules! shader_params {
    (
        $(#[$meta:meta])*
        $visibility:vis struct $name:ident of $($shader:ident),+ {
            $($(#[$field_meta:meta])* $field:ident: $kind:ty),+ $(,)?
        }
    ) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, bytemuck::Pod, bytemuck::Zeroable)]
        $visibility struct $name {
            $($(#[$field_meta])* $visibility $field: $kind),+
        }

        impl $crate::gpu::params::Params for $name {
            const SHADERS: &'static [$crate::gpu::Shader] = &[$($crate::gpu::Shader::$shader),+];
            const FIELDS: &'static [(&'static str, usize, &'static str)] = &[
                $((stringify!($field), std::mem::offset_of!($name, $field), stringify!($kind))),+
            ];
        }

        #[cfg(all(test, feature = "gpu"))]
        mod params {
            #[test]
            fn are_those_of_the_shader() {
                $crate::gpu::pipelines::check_params::<super::$name>();
            }
        }
    };
}

pub(crate) use shader_params;
