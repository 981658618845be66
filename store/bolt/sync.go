//go:build !linux

package bolt

import "os"

type dataFile struct{ *os.File }
