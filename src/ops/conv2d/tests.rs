use super::*;
use crate::ops::testing::{
    assert_close, by_definition, device, fixture, here, on_every_device, on_every_isa, on_gpu,
    random,
};
use proptest::prelude::*;

#[test]
fn agrees_with_pytorch() {
    let cases = [
        (
            "conv2d_7x7_s2_p3",
            "conv2d_7x7_s2_p3_bias",
            Window::square(2, 3),
        ),
        (
            "conv2d_3x3_s1_p1",
            "conv2d_3x3_s1_p1_bias",
            Window::square(1, 1),
        ),
        ("conv2d_1x1", "conv2d_1x1_bias", Window::square(1, 0)),
        (
            "conv2d_3x3_s2_p0",
            "conv2d_3x3_s2_p0_bias",
            Window::square(2, 0),
        ),
        (
            "conv2d_5x3_s21_p12",
            "conv2d_5x3_s21_p12_bias",
            Window {
                stride: [2, 1],
                padding: [1, 2],
            },
        ),
    ];
    on_every_device(|| {
        for (plain, with_bias, window) in cases {
            let case = fixture(plain);
            let (x, w) = (case.tracked("x"), case.tracked("weight"));
            let y = conv2d(&x, &w, None, window).unwrap();
            case.close("output", &y, 1e-6);
            case.check_grads(&y, &[("x", &x), ("weight", &w)], 1e-6);

            let case = fixture(with_bias);
            let (x, w, b) = (
                case.tracked("x"),
                case.tracked("weight"),
                case.tracked("bias"),
            );
            let y = conv2d(&x, &w, Some(&b), window).unwrap();
            case.close("output", &y, 1e-6);
            case.check_grads(&y, &[("x", &x), ("weight", &w), ("bias", &b)], 1e-6);
        }
    });
}

#[test]
fn mistakes_are_named() {
    let message = |x: &[usize], w: &[usize], window| {
        conv2d(&Tensor::zeros(x), &Tensor::zeros(w), None, window)
            .unwrap_err()
            .to_string()
    };
    let plain = Window::square(1, 0);
    assert_eq!(
        message(&[1, 4, 4, 3], &[8, 4, 3, 3], plain),
        "conv2d: expected x with 4 channels for weight [8, 4, 3, 3], got x [1, 4, 4, 3]"
    );
    assert!(message(&[1, 2, 4, 3], &[8, 3, 3, 3], plain).contains("at least 3x3"));
    assert!(message(&[4, 4, 3], &[8, 3, 3, 3], plain).contains("[N, H, W, C]"));
    assert!(message(&[1, 4, 4, 3], &[8, 3, 3, 3], Window::square(0, 0)).contains("stride"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn every_shape_agrees_with_the_definition(
        batch in 1..3usize, height in 1..12usize, width in 1..12usize,
        channels in 1..36usize, out in 1..40usize,
        kernel in prop::array::uniform2(1..4usize), stride in prop::array::uniform2(1..4usize),
        padding in prop::array::uniform2(0..4usize),
    ) {
        prop_assume!(height + 2 * padding[0] >= kernel[0] && width + 2 * padding[1] >= kernel[1]);
        let x = random(&[batch, height, width, channels], 1);
        let w = random(&[out, channels, kernel[0], kernel[1]], 2);
        let window = Window { stride, padding };
        let run = || {
            let (x, w) = (x.tracked(), w.tracked());
            let y = conv2d(&x, &w, None, window).unwrap();
            let grads = y.backward_from(&random(y.dims(), 3)).unwrap();
            (y.detach(), grads.get(&x).unwrap().clone(), grads.get(&w).unwrap().clone())
        };
        let in_bf16 = || Precision::Bf16.scope(|| conv2d(&x, &w, None, window).unwrap());
        let naive = Isa::new(crate::cpu::Level::Naive).unwrap();
        let (oracle, oracle_in_bf16) = (naive.scope(run), naive.scope(in_bf16));
        for isa in Isa::available() {
            let got = isa.scope(run);
            prop_assert_eq!(got.0.dims(), oracle.0.dims());
            assert_close("output", got.0.data(), oracle.0.data(), 1e-5);
            assert_close("grad_x", got.1.data(), oracle.1.data(), 1e-5);
            assert_close("grad_weight", got.2.data(), oracle.2.data(), 1e-5);
            // Both round their operands to bf16; the definition sums in f64, the kernels in f32.
            let got = isa.scope(in_bf16);
            assert_close("bf16", got.data(), oracle_in_bf16.data(), 1e-5);
        }
        assert_close("bf16 and f32", oracle_in_bf16.data(), oracle.0.data(), 1e-2);
        on_gpu(|| {
            let (x, w) = (here(x.clone()).tracked(), here(w.clone()).tracked());
            let y = conv2d(&x, &w, None, window).unwrap();
            let grads = y.backward_from(&random(y.dims(), 3)).unwrap();
            assert_close("output", y.data(), oracle.0.data(), 1e-6);
            assert_close("grad_x", grads.get(&x).unwrap().data(), oracle.1.data(), 1e-6);
            assert_close("grad_weight", grads.get(&w).unwrap().data(), oracle.2.data(), 1e-6);
        });
    }
}

#[test]
fn bf16_is_for_inference_alone() {
    let (x, w) = (random(&[1, 6, 6, 16], 1), random(&[16, 16, 3, 3], 2));
    let window = Window::square(1, 1);
    on_every_isa(|| {
        let exact = conv2d(&x, &w, None, window).unwrap();
        let [plain, tracked] = [w.clone(), w.tracked()]
            .map(|w| Precision::Bf16.scope(|| conv2d(&x, &w, None, window).unwrap()));
        assert_ne!(plain.data(), exact.data());
        assert_close("tracked", tracked.data(), exact.data(), 1e-6);
    });
}

#[test]
fn a_gpu_rounds_operands_to_f16() {
    // All sizes but the last suit matrix units, which compute them if `GLIMPSE_MATRICES` is 1 and the GPU has such units.
    let cases = [
        ([2, 7, 9, 32], [64, 32, 3, 3], 1),
        ([1, 14, 14, 64], [32, 64, 1, 1], 1),
        ([3, 8, 8, 16], [128, 16, 3, 3], 2),
        ([1, 7, 7, 512], [32, 512, 1, 1], 1),
        ([1, 5, 5, 3], [7, 3, 3, 3], 1),
    ];
    for (x_dims, w_dims, stride) in cases {
        let window = Window::square(stride, w_dims[2] / 2);
        let inputs = || {
            (
                random(&x_dims, 1),
                random(&w_dims, 2),
                random(&w_dims[..1], 3),
            )
        };
        // Products of two such numbers are exact in f32.
        let rounded = |t: Tensor| {
            let round = |x: &f32| half::f16::from_f32(*x).to_f32();
            Tensor::from_vec(t.data().iter().map(round).collect(), t.dims()).unwrap()
        };
        let (x, w, bias) = inputs();
        let want = by_definition(|| conv2d(&rounded(x), &rounded(w), Some(&bias), window).unwrap());
        on_gpu(|| {
            let crate::tensor::Device::Gpu(gpu) = device() else {
                return;
            };
            let (x, w, bias) = inputs();
            let run = |w: &Tensor| conv2d(&x, w, Some(&bias), window).unwrap();
            let exact = run(&w);
            let [plain, tracked] =
                [w.clone(), w.tracked()].map(|w| Precision::Bf16.scope(|| run(&w)));
            assert_close("tracked", tracked.data(), exact.data(), 0.0);
            if gpu.has_f16() {
                assert_close("f16", plain.data(), want.data(), 1e-6);
                assert_ne!(plain.data(), exact.data());
            }
            println!("{w_dims:?} with matrices {:?}", gpu.matrices());
        });
    }
}

#[test]
fn a_sum_over_no_channels_is_the_bias() {
    for (side, kernel) in [(3, 1), (3, 3), (20, 1), (20, 3)] {
        on_every_device(|| {
            let x = Tensor::zeros(&[2, side, side, 0]).tracked();
            let weight = Tensor::zeros(&[16, 0, kernel, kernel]).tracked();
            let bias = random(&[16], 1);
            // The buffers are reused, so a result that is not written would still hold these sevens.
            drop(Tensor::full(&[2, side, side, 16], 7.0));
            let window = Window::square(1, kernel / 2);
            let y = conv2d(&x, &weight, Some(&bias), window).unwrap();
            assert!(y.data().chunks(16).all(|pixel| pixel == bias.data()));
            let grads = y.backward_from(&y.detach()).unwrap();
            assert_eq!(grads.get(&x).unwrap().dims(), x.dims());
            assert_eq!(grads.get(&weight).unwrap().dims(), weight.dims());
        });
    }
}

#[test]
fn many_pixels_take_many_tasks_and_partial_sums() {
    let (x, w) = (random(&[2, 90, 90, 20], 1), random(&[5, 20, 3, 3], 2));
    let run = || {
        let (x, w) = (here(x.clone()).tracked(), here(w.clone()).tracked());
        let y = conv2d(&x, &w, None, Window::square(1, 1)).unwrap();
        let grads = y.backward_from(&random(y.dims(), 3)).unwrap();
        [
            y.detach(),
            grads.get(&x).unwrap().clone(),
            grads.get(&w).unwrap().clone(),
        ]
    };
    let oracle = by_definition(run);
    for isa in Isa::available() {
        let alone = crate::cpu::threads::with_count(1, || isa.scope(run)).unwrap();
        let three = crate::cpu::threads::with_count(3, || isa.scope(run)).unwrap();
        for ((alone, three), want) in alone.iter().zip(&three).zip(&oracle) {
            assert_eq!(
                alone.data(),
                three.data(),
                "{isa}: threads change the result"
            );
            assert_close("conv2d", alone.data(), want.data(), 2e-5);
        }
    }
    on_gpu(|| {
        for (got, want) in run().iter().zip(&oracle) {
            assert_close("conv2d", got.data(), want.data(), 2e-6);
        }
    });
}

#[test]
fn products_of_every_tile_and_split_agree() {
    // Few pixels and a long sum, which is split; many pixels and few channels; sizes that fill no tile.
    let cases = [
        ([1, 7, 7, 300], [33, 300, 3, 3]),
        ([5, 33, 7, 3], [3, 3, 1, 1]),
        ([1, 3, 3, 1], [1, 1, 3, 3]),
        ([5, 14, 14, 128], [130, 128, 1, 1]),
        ([1, 100, 90, 7], [33, 7, 3, 3]),
    ];
    for (x, w) in cases {
        let window = Window::square(1, w[2] / 2);
        let run = || {
            let (x, w) = (random(&x, 1).tracked(), random(&w, 2).tracked());
            let bias = random(&[w.dims()[0]], 4).tracked();
            let y = conv2d(&x, &w, Some(&bias), window).unwrap();
            let grads = y.backward_from(&random(y.dims(), 3)).unwrap();
            let of = |t| grads.get(t).unwrap().data().to_vec();
            [y.data().to_vec(), of(&x), of(&w), of(&bias)]
        };
        let want = by_definition(run);
        on_every_device(|| {
            let each = run().into_iter().zip(&want);
            each.for_each(|(got, want)| assert_close("conv2d", &got, want, 2e-6));
        });
    }
}
