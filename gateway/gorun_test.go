package main

import "testing"

func TestBuiltByGoRun(t *testing.T) {
	const hash = "f12bbb4ea17c797440b2eabe886417ff61f369893ffeefef881c95bcb8d665d3"
	for path, want := range map[string]bool{
		"/tmp/go-build1655448718/b001/exe/gateway":                          true,
		"/var/folders/x1/T/go-build16/b001/exe/gateway":                     true,
		"/root/.cache/go-build/f1/" + hash + "-d/gateway":                   true,
		"/Users/somebody/Library/Caches/go-build/f1/" + hash + "-d/gateway": true,
		"/elsewhere/f1/" + hash + "-d/gateway":                              true,
		"/usr/local/bin/gateway":                                            false,
		"/hark":                                                             false,
		"/tmp/hark-test-123/gateway":                                        false,
		"/home/somebody/hark/bin/gateway":                                   false,
		"/nix/store/zz-hark/bin/gateway":                                    false,
		"/exe/gateway":                                                      false,
		"/home/somebody/go-build/gateway":                                   false,
		"/var/lib/docker/overlay2/" + hash + "/merged/gateway":              false,
		"/home/somebody/.cache/go-build/f1/" + hash + "-d/sub/gateway":      false,
		"/opt/f1/" + hash + "/gateway":                                      false,
	} {
		if got := builtByGoRun(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}
