# A test that links LibTorch or gRPC, directly or not, gets the label "torch" or
# "grpc" beside its own, so that a run can leave it out: ThreadSanitizer reports
# false races through those uninstrumented libraries.
#
# The others can be built by their label, as "unit_tests", "property_tests", …:
# what a sanitizer's build tree is for, where those libraries' headers would take
# most of the time.

# Sets `out_labels` to `label` and the adapters that `target` links, and adds it
# to the group of its label.
function(_mledge_group_test target label out_labels)
  _mledge_link_closure(${target} closure)
  set(labels ${label})
  if("mledge::libtorch" IN_LIST closure)
    list(APPEND labels torch)
  endif()
  if("gRPC::grpc++" IN_LIST closure)
    list(APPEND labels grpc)
  endif()
  if(labels STREQUAL label)
    if(NOT TARGET ${label}_tests)
      add_custom_target(${label}_tests)
    endif()
    add_dependencies(${label}_tests ${target})
  endif()
  set(${out_labels} ${labels} PARENT_SCOPE)
endfunction()

# All targets that `target` links, whether for itself or for its users.
function(_mledge_link_closure target out_closure)
  set(closure "")
  set(queue ${target})
  while(queue)
    list(POP_FRONT queue item)
    string(REGEX REPLACE "^\\$<LINK_ONLY:(.*)>$" "\\1" item "${item}")
    if(item IN_LIST closure OR NOT TARGET "${item}")
      continue()
    endif()
    list(APPEND closure "${item}")
    foreach(property LINK_LIBRARIES INTERFACE_LINK_LIBRARIES)
      get_target_property(linked "${item}" ${property})
      if(linked)
        list(APPEND queue ${linked})
      endif()
    endforeach()
  endwhile()
  set(${out_closure} ${closure} PARENT_SCOPE)
endfunction()
