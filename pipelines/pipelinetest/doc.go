// Package pipelinetest starts processes of weir in tests of other packages. Only tests import it.
package pipelinetest
