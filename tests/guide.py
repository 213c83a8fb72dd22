"""The programs of the user's guide to loading models, block by block, as it writes them."""

LOAD_SAFETENSORS = 'model = load_model("path/to/model.safetensors")\n'
LOAD_GGUF = 'model = load_model("path/to/llama-7b-q4.gguf")\n'
GET_TENSORS = """\
weights = model.get_tensor("layer.0.weight")
bias = model.get_tensor("layer.0.bias")
"""
FORWARD = """\
fn forward(input: float16[N, D_in],
                 weights: float16[D_in, D_out],
                 bias: float16[D_out]) -> float16[N, D_out] {
    // Transformation linéaire : output = input @ weights + bias
    let output = input @ weights
    return output + bias
}
"""
LOAD_AGAIN = 'model = load_model("model.safetensors")\n'
LINEAR = """\
// Données d'entrée (taille de lot 4, dimension de caractéristiques 3)
let X = tensor<float16>([
    [1.0, 2.0, 3.0],
    [4.0, 5.0, 6.0],
    [7.0, 8.0, 9.0],
    [10.0, 11.0, 12.0]
], device: gpu)

// Matrice de poids (3 x 2)
let W = tensor<float16>([
    [0.1, 0.2],
    [0.3, 0.4],
    [0.5, 0.6]
], device: gpu)

// Biais (2 dimensions)
let b = tensor<float16>([0.01, 0.02], device: gpu)

// Exécuter l'inférence
let output = forward(X, W, b)

// Afficher les résultats
print("Output shape:", output.shape)
print("Output:", output)
"""
SAVE = 'save_model(model, "output.safetensors")\n'
BLOCKS = (LOAD_SAFETENSORS, LOAD_GGUF, GET_TENSORS, FORWARD, LOAD_AGAIN, LINEAR, SAVE)
