# Run by fcsa_embed: writes the texts as raw string literals, in pieces short enough for every compiler.
string(REPLACE "," ";" files "${FILES}")
set(body "")
foreach(file IN LISTS files)
  file(READ "${ROOT}/${file}" hex HEX)
  string(LENGTH "${hex}" length)
  string(APPEND body "    {\"${file}\",\n")
  set(begin 0)
  while(begin LESS length)
    string(SUBSTRING "${hex}" ${begin} 160 line)
    string(REGEX REPLACE "([0-9a-f][0-9a-f])" "\\\\x\\1" line "${line}")
    string(APPEND body "     \"${line}\"\n")
    math(EXPR begin "${begin} + 160")
  endwhile()
  string(APPEND body "    },\n")
endforeach()
string(REGEX MATCH "^(.*)::([^:]*)$" matched "${FUNCTION}")
set(namespace "${CMAKE_MATCH_1}")
set(name "${CMAKE_MATCH_2}")
file(WRITE "${OUTPUT}.tmp" "#include \"kernels/embedded.h\"

namespace ${namespace} {

const std::vector<fcsa::kernels::EmbeddedFile>& ${name}() {
  static const std::vector<fcsa::kernels::EmbeddedFile> files = {
${body}  };
  return files;
}

}  // namespace ${namespace}
")
file(RENAME "${OUTPUT}.tmp" "${OUTPUT}")
