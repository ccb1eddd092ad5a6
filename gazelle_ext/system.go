package ocipkg

import "strings"

// systemHeader reports whether every compiler finds a header without a library's help: those of C, of POSIX and of the
// kernel. C++ headers have no dot, and no library's are taken for one of them.
func systemHeader(path string) bool {
	if systemHeaders[path] {
		return true
	}
	for _, dir := range []string{"sys/", "linux/", "asm/", "asm-generic/", "bits/", "arpa/", "netinet/"} {
		if strings.HasPrefix(path, dir) {
			return true
		}
	}
	return false
}

// systemLibrary reports whether every platform that has a library of this name brings it along.
func systemLibrary(name string) bool { return systemLibraries[name] }

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

var (
	systemHeaders = set(`
		assert.h complex.h ctype.h errno.h fenv.h float.h inttypes.h iso646.h limits.h locale.h math.h setjmp.h signal.h
		stdalign.h stdarg.h stdatomic.h stdbit.h stdbool.h stdckdint.h stddef.h stdint.h stdio.h stdlib.h stdnoreturn.h
		string.h tgmath.h threads.h time.h uchar.h wchar.h wctype.h
		aio.h cpio.h dirent.h dlfcn.h fcntl.h fmtmsg.h fnmatch.h ftw.h glob.h grp.h iconv.h langinfo.h libgen.h libintl.h
		monetary.h mqueue.h ndbm.h netdb.h nl_types.h poll.h pthread.h pwd.h regex.h sched.h search.h semaphore.h spawn.h
		strings.h stropts.h syslog.h tar.h termios.h trace.h ulimit.h unistd.h utime.h utmpx.h wordexp.h
		alloca.h byteswap.h endian.h err.h execinfo.h features.h getopt.h ifaddrs.h malloc.h memory.h
		windows.h winsock2.h ws2tcpip.h io.h process.h direct.h conio.h`)
	systemLibraries = set("c m dl pthread rt util resolv nsl crypt gcc gcc_s stdc++ c++ atomic supc++ System objc" +
		" ws2_32 wsock32 kernel32 user32 advapi32 ole32 shell32 gdi32 bcrypt crypt32 ntdll winmm iphlpapi userenv secur32 shlwapi")
)
