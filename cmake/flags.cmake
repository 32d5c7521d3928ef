# Compiler flags of all our own code. Generated code gets the include paths only.
add_library(sw_flags INTERFACE)
target_compile_options(sw_flags INTERFACE
	-Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wconversion -Wvla
	-Wno-sign-conversion -Wno-missing-field-initializers
	-fno-omit-frame-pointer -fno-strict-aliasing)
target_compile_definitions(sw_flags INTERFACE _GNU_SOURCE SW_VERSION="${PROJECT_VERSION}")
target_include_directories(sw_flags INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR})
if(SW_WERROR)
	target_compile_options(sw_flags INTERFACE -Werror)
endif()
if(CMAKE_C_COMPILER_ID STREQUAL "Clang")
	target_compile_options(sw_flags INTERFACE -Wno-gnu-variable-sized-type-not-at-end)
endif()

set(CMAKE_POSITION_INDEPENDENT_CODE ON)
if(SW_SANITIZE)
	add_compile_options(-fsanitize=${SW_SANITIZE} -fno-sanitize-recover=all)
	add_link_options(-fsanitize=${SW_SANITIZE})
elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
	add_compile_options(-D_FORTIFY_SOURCE=2 -fstack-protector-strong -ffunction-sections -fdata-sections)
	add_link_options(-Wl,--gc-sections -Wl,-z,relro,-z,now -pie -s)
	set(CMAKE_C_FLAGS_RELEASE "-O2")
endif()
if(SW_FUZZ)
	add_compile_options(-fsanitize=fuzzer-no-link)
endif()
