// Semantics and depth of a photo by an OpenVINO file of `diorama export --format openvino`, without Python.
//
//   cmake -B build -DCMAKE_PREFIX_PATH="$(python -c 'import openvino.utils as u; print(u.get_cmake_path())')" && cmake --build build
//   build/predict model.xml photo.ppm result
//
// The photo is a binary PPM at the size the network is to see (docs/export.md, step 1). What comes back has the names and encodings of
// `diorama predict`, as PGM: result.semantic.pgm holds train ids, result.depth.pgm 16-bit metres * 256.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include <openvino/openvino.hpp>

struct Photo {
    std::size_t height = 0, width = 0;
    std::vector<std::uint8_t> rgb;
};

Photo read_photo(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string kind;
    Photo photo;
    int largest = 0;
    file >> kind >> photo.width >> photo.height >> largest;
    if (!file || kind != "P6" || largest != 255) throw std::runtime_error(path + ": no binary PPM of 8 bits");
    file.get();
    photo.rgb.resize(photo.height * photo.width * 3);
    if (!file.read(reinterpret_cast<char*>(photo.rgb.data()), static_cast<std::streamsize>(photo.rgb.size())))
        throw std::runtime_error(path + ": cut off");
    return photo;
}

void write_pgm(const std::string& path, const Photo& photo, int largest, const std::vector<std::uint8_t>& bytes) {
    std::ofstream file(path, std::ios::binary);
    file << "P5\n" << photo.width << " " << photo.height << "\n" << largest << "\n";
    file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    if (!file) throw std::runtime_error(path + ": cannot be written");
}

int main(int count, char** words) try {
    if (count != 4) throw std::runtime_error("usage: predict MODEL.xml PHOTO.ppm RESULT");
    Photo photo = read_photo(words[2]);
    const std::size_t pixels = photo.height * photo.width;

    ov::Core core;
    auto model = core.read_model(words[1]);
    std::cout << model->get_rt_info<std::string>("diorama").size() << " bytes of config\n";  // JSON: classes, sizes, units
    ov::preprocess::PrePostProcessor steps(model);
    steps.input("image").tensor().set_element_type(ov::element::u8).set_layout("NHWC");      // RGB as it is in memory ...
    steps.input("image").model().set_layout("NCHW");
    steps.input("image").preprocess().convert_element_type(ov::element::f32).scale(255.f);   // ... to 0..1
    steps.output("semantic_logits").model().set_layout("NCHW");
    steps.output("semantic_logits").tensor().set_layout("NHWC");  // logits as they are computed: turning them takes a third of the time
    model = steps.build();
    model->reshape(ov::PartialShape{1, static_cast<long>(photo.height), static_cast<long>(photo.width), 3});  // faster than a free size

    // OpenVINO chooses bf16 by itself where the processor has it; a bf16 file (`export.precision`) asks for ov::element::bf16
    auto request = core.compile_model(model, "CPU", ov::hint::inference_precision(ov::element::f32)).create_infer_request();
    request.set_tensor("image", ov::Tensor(ov::element::u8, {1, photo.height, photo.width, 3}, photo.rgb.data()));
    request.infer();
    const auto logits = request.get_tensor("semantic_logits");  // (1, H, W, K); K one more than names in the config: the last is "ignore"
    const auto depth = request.get_tensor("depth");             // (1, 1, H, W), metres
    const std::size_t classes = logits.get_shape()[3];
    const float *score = logits.data<float>(), *metres = depth.data<float>();

    std::vector<std::uint8_t> semantic(pixels), stored(2 * pixels);
    for (std::size_t pixel = 0; pixel < pixels; ++pixel, score += classes) {
        semantic[pixel] = static_cast<std::uint8_t>(std::max_element(score, score + classes) - score);
        const auto value = static_cast<std::uint16_t>(std::clamp(std::nearbyint(256.f * metres[pixel]), 1.f, 65535.f));
        stored[2 * pixel] = static_cast<std::uint8_t>(value >> 8);  // PGM is big-endian
        stored[2 * pixel + 1] = static_cast<std::uint8_t>(value & 255);
    }
    const std::string result = words[3];
    write_pgm(result + ".semantic.pgm", photo, 255, semantic);
    write_pgm(result + ".depth.pgm", photo, 65535, stored);
} catch (const std::exception& error) {
    std::cerr << "predict: " << error.what() << "\n";
    return 1;
}
