# wattle_fingerprint(<library> <function> <file>...): adds to the library a function
# std::string wattle::scheduler::<function>() that gives a hash over the files, made anew when one of
# them changes, and over the compiler's name.
#
# Run as a script (cmake -P) it writes that source.
if(CMAKE_SCRIPT_MODE_FILE)
  set(hashes "${COMPILER}")
  string(REPLACE " " ";" FILES "${FILES}")
  foreach(file ${FILES})
    file(SHA256 ${file} hash)
    string(APPEND hashes ${hash})
  endforeach()
  string(SHA256 fingerprint "${hashes}")
  string(SUBSTRING ${fingerprint} 0 16 fingerprint)
  file(WRITE ${OUTPUT} "#include <string>

namespace wattle::scheduler {
std::string ${FUNCTION}();
std::string ${FUNCTION}() { return \"${fingerprint}\"; }
}  // namespace wattle::scheduler
")
  return()
endif()

set(WATTLE_FINGERPRINT_SCRIPT ${CMAKE_CURRENT_LIST_FILE})
function(wattle_fingerprint library function)
  set(output ${CMAKE_BINARY_DIR}/generated/${function}.cpp)
  list(SORT ARGN)
  string(REPLACE ";" " " files "${ARGN}")
  add_custom_command(OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -DOUTPUT=${output} -DFUNCTION=${function} "-DFILES=${files}"
      "-DCOMPILER=${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}"
      -P ${WATTLE_FINGERPRINT_SCRIPT}
    DEPENDS ${ARGN} ${WATTLE_FINGERPRINT_SCRIPT} VERBATIM)
  target_sources(wattle_${library} PRIVATE ${output})
endfunction()
