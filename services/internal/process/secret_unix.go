//go:build linux || darwin || freebsd

package process

import (
	"io/fs"
	"os"
	"syscall"
)

// exposed reports whether others may read the file, or change it.
func exposed(file *os.File, info fs.FileInfo) bool {
	if !info.Mode().IsRegular() {
		return false // A pipe of the shell, such as /dev/fd/63, is nobody else's.
	}
	others := fs.FileMode(0o006)
	if Mine(info) {
		others = 0o066
	}
	return info.Mode()&others != 0 && !readOnly(file)
}

// Mine reports whether the file belongs to the user that runs the process.
func Mine(info fs.FileInfo) bool {
	stat, known := info.Sys().(*syscall.Stat_t)
	return known && int(stat.Uid) == os.Geteuid()
}

// mountedReadOnly is the flag of a mount that nobody can write to.
const mountedReadOnly = 1

func readOnly(file *os.File) bool {
	var stat syscall.Statfs_t
	return syscall.Fstatfs(int(file.Fd()), &stat) == nil && stat.Flags&mountedReadOnly != 0
}
