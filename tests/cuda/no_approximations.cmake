# Compiles kernels to PTX and fails if one holds an approximate or flushing instruction: generators
# and patterns are the same bits everywhere. NVCC, SOURCES, FLAGS: lists.
foreach(source ${SOURCES})
  execute_process(COMMAND ${NVCC} -std=c++17 -arch=compute_80 -ptx ${FLAGS} ${source} -o -
                  OUTPUT_VARIABLE ptx ERROR_VARIABLE error RESULT_VARIABLE status)
  if(status OR NOT ptx MATCHES "fma\\.rn")
    message(FATAL_ERROR "${source}: ${error}")
  endif()
  if(ptx MATCHES "[^\n]*\\.(approx|ftz|full)[^\n]*")
    message(FATAL_ERROR "${source}: ${CMAKE_MATCH_0}")
  endif()
endforeach()
