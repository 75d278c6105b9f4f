//! The WGSL files, and the texts that they are compiled from.

macro_rules! shaders {
    ($($name:ident $file:literal),* $(,)?) => {
        /// A file of `shaders/`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub enum Shader { $($name),* }

        impl Shader {
            /// All files.
            pub const ALL: &'static [Shader] = &[$(Shader::$name),*];

            /// The name of the file.
            pub fn file(self) -> &'static str {
                match self { $(Shader::$name => concat!($file, ".wgsl")),* }
            }

            /// The text of the file.
            pub fn source(self) -> &'static str {
                match self { $(Shader::$name => include_str!(concat!("../../shaders/", $file, ".wgsl"))),* }
            }
        }
    };
}

/// Functions that several shaders call. WGSL allows a call before the declaration, so this text is appended. Line numbers in
/// error messages stay those of the file, and directives stay first, as WGSL demands.
#[cfg(feature = "gpu")]
const PRELUDE: &str = include_str!("../../shaders/prelude.wgsl");

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

/// The variant of a shader's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Variant {
    /// The text of the file.
    Plain,
    /// The text with f16 operands.
    Half,
    /// The text for matrix units whose matrices have this many rows and columns.
    Matrices(u32),
}

#[cfg(feature = "gpu")]
impl Variant {
    /// Returns the text of `shader` in this variant, followed by [`PRELUDE`]. So a shader must not declare a module-scope
    /// name that hides a built-in function which the prelude calls, such as `sign`.
    pub(crate) fn text(self, shader: Shader) -> String {
        let text = format!("{}\n{PRELUDE}", shader.source());
        match self {
            Variant::Plain | Variant::Matrices(16) => text,
            Variant::Half => {
                let halves = text
                    .replace("alias Operand = f32;", "alias Operand = f16;")
                    .replace("alias Operands = vec4<f32>;", "alias Operands = vec4<f16>;");
                format!("enable f16;\n{halves}")
            }
            Variant::Matrices(size) => text
                .replace(
                    "const SIZE: u32 = 16;",
                    &format!("const SIZE: u32 = {size};"),
                )
                .replace("coop_mat16x16", &format!("coop_mat{size}x{size}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_named_here() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/shaders");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let mut named: Vec<&str> = Shader::ALL.iter().map(|s| s.file()).collect();
        named.push("prelude.wgsl");
        named.sort_unstable();
        assert_eq!(files, named);
    }
}
