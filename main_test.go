package main

import (
	"fmt"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the scripts of testdata/script run weir as a program.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"weir": main, "stubborn": stubborn})
}

// stubborn is a program that does not stop when it is asked to.
func stubborn() {
	ctx, _ := interruptible()
	fmt.Println("up")
	<-ctx.Done()
	fmt.Println("stopping")
	select {}
}

// TestScripts runs testdata/script: the command line as its users see it.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       os.Getenv("UPDATE_SCRIPTS") != "",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}
