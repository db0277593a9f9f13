# Slicer writes <name>.s4ext and sets up the package. As there, the fields go through without quotation marks,
# so a semicolon in one of them makes what follows it an unknown argument.
foreach(_file IN ITEMS "${EXTENSION_README_FILE}" "${EXTENSION_LICENSE_FILE}")
  if(NOT EXISTS "${_file}")
    message(FATAL_ERROR "${_file} does not exist")
  endif()
endforeach()

function(_describe)
  cmake_parse_arguments(MY "" "NAME;CATEGORY;HOMEPAGE;ICONURL;DESCRIPTION"
    "CONTRIBUTORS;DEPENDS;KEYWORDS;SCREENSHOTURLS" ${ARGN})
  if(MY_UNPARSED_ARGUMENTS)
    message(FATAL_ERROR "A field of the extension's description is cut at: ${MY_UNPARSED_ARGUMENTS}")
  endif()
  file(WRITE "${CMAKE_BINARY_DIR}/${MY_NAME}.s4ext"
    "category ${MY_CATEGORY}\ndescription ${MY_DESCRIPTION}\ndepends ${MY_DEPENDS}\n")
endfunction()

_describe(
  NAME ${EXTENSION_NAME}
  CATEGORY ${EXTENSION_CATEGORY}
  HOMEPAGE ${EXTENSION_HOMEPAGE}
  ICONURL ${EXTENSION_ICONURL}
  DESCRIPTION ${EXTENSION_DESCRIPTION}
  CONTRIBUTORS ${EXTENSION_CONTRIBUTORS}
  DEPENDS ${EXTENSION_DEPENDS}
  KEYWORDS ${EXTENSION_KEYWORDS}
  SCREENSHOTURLS ${EXTENSION_SCREENSHOTURLS}
)
