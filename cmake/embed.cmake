# fcsa_embed(<target> [FUNCTION <qualified name>] <file>...): makes the text of the files available to the target as
# fcsa::kernels::embedded_files(), or as the function named: a list of (path relative to the source tree, text).
function(fcsa_embed target)
  cmake_parse_arguments(ARG "" "FUNCTION" "" ${ARGN})
  if(NOT ARG_FUNCTION)
    set(ARG_FUNCTION fcsa::kernels::embedded_files)
  endif()
  set(output ${CMAKE_CURRENT_BINARY_DIR}/embedded.cpp)
  set(inputs ${ARG_UNPARSED_ARGUMENTS})
  list(TRANSFORM inputs PREPEND ${PROJECT_SOURCE_DIR}/ OUTPUT_VARIABLE absolute)
  string(REPLACE ";" "," joined "${inputs}")
  add_custom_command(
    OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DROOT=${PROJECT_SOURCE_DIR} -DFILES=${joined} -DOUTPUT=${output}
            -DFUNCTION=${ARG_FUNCTION} -P ${PROJECT_SOURCE_DIR}/cmake/embed_files.cmake
    DEPENDS ${absolute} ${PROJECT_SOURCE_DIR}/cmake/embed_files.cmake
    VERBATIM)
  target_sources(${target} PRIVATE ${output})
endfunction()
