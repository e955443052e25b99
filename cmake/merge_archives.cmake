# Adds the members of the archives ADD (separated by commas) to ARCHIVE.
string(REPLACE "," ";" archives "${ADD}")
set(script "open ${ARCHIVE}\n")
foreach(archive IN LISTS archives)
  string(APPEND script "addlib ${archive}\n")
endforeach()
file(WRITE ${ARCHIVE}.mri "${script}save\nend\n")
execute_process(COMMAND ${AR} -M INPUT_FILE ${ARCHIVE}.mri COMMAND_ERROR_IS_FATAL ANY)
file(REMOVE ${ARCHIVE}.mri)
