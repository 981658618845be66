//go:build !linux || portable

package bolt

import "os"

type dataFile struct{ *os.File }
