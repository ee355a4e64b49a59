# Installs reliht into a folder of its own, builds the example against that copy, once by
# find_package and once by pkg-config, and runs it. Given: BUILD (reliht's build folder), LIBDIR,
# COMPILER, FLAGS.
set(work ${BUILD}/tests/example)
file(REMOVE_RECURSE ${work})
file(MAKE_DIRECTORY ${work})

function(run)
  execute_process(COMMAND ${ARGN} COMMAND_ECHO STDOUT RESULT_VARIABLE result)
  if(result)
    message(FATAL_ERROR "failed (${result}): ${ARGN}")
  endif()
endfunction()

run(${CMAKE_COMMAND} --install ${BUILD} --prefix ${work}/prefix)
run(${work}/prefix/bin/reliht version)

run(${CMAKE_COMMAND} -S ${CMAKE_CURRENT_LIST_DIR} -B ${work}/build -DCMAKE_BUILD_TYPE=Release
    -DCMAKE_PREFIX_PATH=${work}/prefix -DCMAKE_C_COMPILER=${COMPILER} "-DCMAKE_C_FLAGS=${FLAGS}")
run(${CMAKE_COMMAND} --build ${work}/build)
run(${work}/build/recover)

set(ENV{PKG_CONFIG_PATH} ${work}/prefix/${LIBDIR}/pkgconfig)
execute_process(COMMAND pkg-config --cflags --libs reliht
                OUTPUT_VARIABLE flags OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE result)
if(result)
  message(FATAL_ERROR "pkg-config doesn't know reliht")
endif()
separate_arguments(flags UNIX_COMMAND "${FLAGS} ${flags}")
run(${COMPILER} ${CMAKE_CURRENT_LIST_DIR}/recover.c -o ${work}/recover ${flags}
    -Wl,-rpath,${work}/prefix/${LIBDIR})
run(${work}/recover)
