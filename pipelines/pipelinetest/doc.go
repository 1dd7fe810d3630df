// Package pipelinetest starts weir inside the tests of other packages. Only tests import it.
package pipelinetest
