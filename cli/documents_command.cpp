#include "cli/command.h"
#include "common/documents/byte_documents.h"

#include <fmt/format.h>

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace longrope {
namespace {

struct DocumentsArguments {
  std::vector<std::string> texts;
  ByteDocumentsOptions options;
  std::string out;
  std::string split;
  bool no_bos = false;
};

void write_and_print(std::vector<Document> documents, const std::string& source, const std::filesystem::path& out) {
  DocumentsFile file;
  file.tokenizer_digest = "byte-level";
  file.source = source;
  file.documents = std::move(documents);
  write_documents(file, out);
  fmt::print("{}: {} documents\n", out.string(), file.documents.size());
}

void make_documents(DocumentsArguments arguments) {
  if (arguments.no_bos) arguments.options.bos.reset();
  std::vector<ByteText> texts;
  std::string source;
  for (const std::string& path : arguments.texts) {
    texts.push_back(read_byte_text(path));
    source += (source.empty() ? "" : " ") + texts.back().name;
  }
  std::vector<Document> documents = byte_documents(texts, arguments.options);
  if (arguments.split.empty()) {
    write_and_print(std::move(documents), source, arguments.out);
    return;
  }
  const std::vector<SplitShare> shares = parse_split(arguments.split);
  std::vector<std::vector<Document>> parts = split_documents(documents, shares);
  for (std::size_t i = 0; i < shares.size(); ++i) {
    write_and_print(std::move(parts[i]), source, split_path(arguments.out, shares[i].name));
  }
}

}  // namespace

void add_documents_command(CLI::App& app) {
  auto* command = app.add_subcommand("documents", "Turn text files into documents for byte-level models");
  auto arguments = std::make_shared<DocumentsArguments>();
  command->add_option("TEXT", arguments->texts, "Text files")->required();
  in_tokens(command->add_option("--length", arguments->options.length,
                                "Tokens of each document, with its first (BOS) and last (EOS) special token"))
      ->required();
  command->add_option("--count", arguments->options.count,
                      "Number of documents, cut at even distances over the texts [as many as there are]");
  command->add_option("--bos", arguments->options.bos, "Token id of the special token that begins each document (BOS)")
      ->capture_default_str();
  command->add_option("--eos", arguments->options.eos,
                      "Token id of a special token that ends each document (EOS), for training: 257 [none]");
  command->add_flag("--no-bos", arguments->no_bos, "Begin documents without a special token");
  command->add_option(
      "--split", arguments->split,
      "NAME:SHARE,… divides the documents among several files, OUT-NAME for each NAME. Another --length "
      "divides them otherwise: for several lengths give each side texts of its own");
  command->add_option("--out", arguments->out, "Documents file to write")->required();
  command->footer(
      "A token is a byte of the text. Documents for models with a tokenizer: tools/prepare_documents.py.\n"
      "Example:\n  longrope documents --length 4096 --count 6 --out heldout.safetensors "
      "models/byte-llama/text/heldout.txt");
  command->callback([=] { make_documents(*arguments); });
}

}  // namespace longrope
