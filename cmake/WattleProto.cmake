# wattle_proto(name file.proto...): the generated messages and stubs of .proto files as one library,
# wattle::<name>, compiled once; its headers are included as "<folder>/<file>.pb.h". Only programs
# that link it need Protobuf and gRPC.
function(wattle_proto name)
  set(generated ${CMAKE_BINARY_DIR}/generated)
  file(MAKE_DIRECTORY ${generated})
  set(outputs)
  foreach(proto ${ARGN})
    string(REGEX REPLACE "\\.proto$" "" stem ${generated}/${proto})
    list(APPEND outputs ${stem}.pb.cc ${stem}.pb.h ${stem}.grpc.pb.cc ${stem}.grpc.pb.h)
  endforeach()
  add_custom_command(OUTPUT ${outputs}
    COMMAND protobuf::protoc -I ${CMAKE_SOURCE_DIR} --cpp_out=${generated} --grpc_out=${generated}
      --plugin=protoc-gen-grpc=$<TARGET_FILE:gRPC::grpc_cpp_plugin> ${ARGN}
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR} DEPENDS ${ARGN} VERBATIM)
  add_library(wattle_${name} STATIC ${outputs})
  target_include_directories(wattle_${name} SYSTEM PUBLIC ${generated})
  target_link_libraries(wattle_${name} PUBLIC gRPC::grpc++ protobuf::libprotobuf)
  add_library(wattle::${name} ALIAS wattle_${name})
endfunction()
