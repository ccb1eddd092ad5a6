// Package system knows the headers and libraries that come with a compiler, a C library or a system. No library of an
// index answers for them: one that brings a copy of such a header would be linked by everyone who includes it.
//
// Invariant: a name is here only if no library of its own brings it. So <crypt.h> is not, which is libcrypt's by now, nor
// <nss.h>, which to most is Mozilla's, nor <sys/capability.h> and <netinet/sctp.h>, nor <fts.h>, <argp.h> and <obstack.h>,
// which musl leaves to libraries. Three are here all the same: <iconv.h>, <libintl.h> and <execinfo.h>. Of libiconv,
// gettext's libintl and libexecinfo nobody who has them from the C library should be made to link a copy; who wants it
// says so with # gazelle:resolve, which goes before. Folders are here whole where nobody else puts anything there.
package system

import (
	"strings"
	"sync"
)

// Header reports whether every compiler for some system finds a header without a library's help.
func Header(path string) bool {
	for _, dir := range folders {
		if strings.HasPrefix(path, dir) {
			return true
		}
	}
	return headers()[path]
}

// Library reports whether every platform that has a library of this name brings it along.
func Library(name string) bool { return libraries()[name] }

// set is made when it is first asked for: most runs of Gazelle never ask.
func set(words ...string) func() map[string]bool {
	return sync.OnceValue(func() map[string]bool {
		m := map[string]bool{}
		for _, text := range words {
			for _, w := range strings.Fields(text) {
				m[w] = true
			}
		}
		return m
	})
}

var (
	headers   = set(c, cpp, posix, libc, compilers, windows)
	libraries = set("c m dl pthread rt util resolv nsl crypt gcc gcc_s stdc++ c++ atomic supc++ System objc" +
		" ws2_32 wsock32 kernel32 user32 advapi32 ole32 shell32 gdi32 bcrypt crypt32 ntdll winmm iphlpapi userenv secur32 shlwapi")
	folders = strings.Fields("asm/ asm-generic/ bits/ linux/ tr1/ tr2/")
)

const (
	// Of C, to C23.
	c = `
assert.h complex.h ctype.h errno.h fenv.h float.h inttypes.h iso646.h limits.h locale.h math.h setjmp.h signal.h stdalign.h
stdarg.h stdatomic.h stdbit.h stdbool.h stdckdint.h stddef.h stdint.h stdio.h stdlib.h stdmchar.h stdnoreturn.h string.h
tgmath.h threads.h time.h uchar.h wchar.h wctype.h`

	// Of C++, to C++26, with those that a standard has taken out again, and of libstdc++ and libc++ besides.
	cpp = `
algorithm any array atomic barrier bit bitset cassert ccomplex cctype cerrno cfenv cfloat charconv chrono cinttypes ciso646
climits clocale cmath codecvt compare complex concepts condition_variable contracts coroutine csetjmp csignal cstdalign cstdarg
cstdbool cstddef cstdint cstdio cstdlib cstring ctgmath ctime cuchar cwchar cwctype debugging deque exception execution
expected filesystem flat_map flat_set format forward_list fstream functional future generator hazard_pointer hive
initializer_list inplace_vector iomanip ios iosfwd iostream istream iterator latch limits linalg list locale map mdspan memory
memory_resource meta mutex new numbers numeric optional ostream print queue random ranges ratio rcu regex scoped_allocator
semaphore set shared_mutex simd source_location span spanstream sstream stack stacktrace stdexcept stdfloat stop_token
streambuf string string_view strstream syncstream system_error text_encoding thread tuple type_traits typeindex typeinfo
unordered_map unordered_set utility valarray variant vector version
cxxabi.h hash_map hash_set parallel/algorithm parallel/numeric
experimental/algorithm experimental/any experimental/array experimental/buffer experimental/chrono experimental/deque
experimental/executor experimental/filesystem experimental/forward_list experimental/functional experimental/internet
experimental/io_context experimental/iterator experimental/list experimental/map experimental/memory
experimental/memory_resource experimental/net experimental/netfwd experimental/numeric experimental/optional
experimental/propagate_const experimental/random experimental/ratio experimental/regex experimental/scope experimental/set
experimental/socket experimental/source_location experimental/string experimental/string_view experimental/synchronized_value
experimental/system_error experimental/timer experimental/tuple experimental/type_traits experimental/unordered_map
experimental/unordered_set experimental/utility experimental/vector
ext/algorithm ext/atomicity.h ext/functional ext/hash_map ext/hash_set ext/iterator ext/memory ext/numeric
ext/pb_ds/assoc_container.hpp ext/pb_ds/priority_queue.hpp ext/pb_ds/tree_policy.hpp ext/random ext/rope ext/slist
ext/stdio_filebuf.h ext/stdio_sync_filebuf.h`

	// Of POSIX, whichever system has them.
	posix = `
aio.h arpa/inet.h cpio.h dirent.h dlfcn.h endian.h fcntl.h fmtmsg.h fnmatch.h ftw.h glob.h grp.h iconv.h langinfo.h libgen.h
libintl.h monetary.h mqueue.h net/if.h netdb.h netinet/in.h netinet/tcp.h nl_types.h poll.h pthread.h pwd.h regex.h sched.h
search.h semaphore.h spawn.h strings.h stropts.h sys/ipc.h sys/mman.h sys/msg.h sys/resource.h sys/select.h sys/sem.h
sys/shm.h sys/socket.h sys/stat.h sys/statvfs.h sys/time.h sys/times.h sys/types.h sys/uio.h sys/un.h sys/utsname.h
sys/wait.h syslog.h tar.h termios.h ulimit.h unistd.h utime.h utmpx.h wordexp.h`

	// Of glibc, musl, and the C libraries of the BSDs and macOS.
	libc = `
a.out.h aliases.h alloca.h ar.h argz.h byteswap.h elf.h envz.h err.h error.h execinfo.h features.h fpu_control.h fstab.h
gconv.h getopt.h gnu-versions.h gnu/lib-names.h gnu/libc-version.h gshadow.h ieee754.h ifaddrs.h lastlog.h link.h
malloc.h mcheck.h memory.h mntent.h paths.h printf.h proc_service.h pty.h re_comp.h regexp.h resolv.h sgtty.h
shadow.h stab.h stdc-predef.h stdio_ext.h syscall.h sysexits.h termio.h thread_db.h ttyent.h ucontext.h utmp.h
values.h wait.h
arpa/ftp.h arpa/nameser.h arpa/nameser_compat.h arpa/telnet.h arpa/tftp.h
net/ethernet.h net/if_arp.h net/if_dl.h net/if_media.h net/if_packet.h net/if_ppp.h net/if_shaper.h net/if_slip.h
net/if_types.h net/ppp-comp.h net/ppp_defs.h net/route.h netash/ash.h netatalk/at.h netax25/ax25.h neteconet/ec.h
netinet/ether.h netinet/icmp6.h netinet/if_ether.h netinet/if_fddi.h netinet/if_tr.h netinet/igmp.h netinet/in_systm.h
netinet/ip.h netinet/ip6.h netinet/ip_icmp.h netinet/udp.h netipx/ipx.h netiucv/iucv.h netpacket/packet.h netrom/netrom.h
netrose/rose.h nfs/nfs.h protocols/routed.h protocols/rwhod.h protocols/talkd.h protocols/timed.h rpc/netdb.h scsi/scsi.h
scsi/scsi_ioctl.h scsi/sg.h
sys/acct.h sys/auxv.h sys/bitypes.h sys/cdefs.h sys/debugreg.h sys/dir.h sys/elf.h sys/endian.h sys/epoll.h sys/errno.h
sys/event.h sys/eventfd.h sys/fanotify.h sys/fcntl.h sys/file.h sys/filio.h sys/fsuid.h sys/gmon.h sys/gmon_out.h
sys/inotify.h sys/io.h sys/ioctl.h sys/kd.h sys/klog.h sys/mount.h sys/mtio.h sys/param.h sys/pci.h sys/perm.h
sys/personality.h sys/pidfd.h sys/platform/x86.h sys/poll.h sys/prctl.h sys/procfs.h sys/profil.h sys/ptrace.h sys/queue.h
sys/quota.h sys/random.h sys/raw.h sys/reboot.h sys/reg.h sys/rseq.h sys/sendfile.h sys/signal.h sys/signalfd.h
sys/single_threaded.h sys/socketvar.h sys/sockio.h sys/soundcard.h sys/statfs.h sys/swap.h sys/syscall.h sys/sysctl.h
sys/sysinfo.h sys/syslimits.h sys/syslog.h sys/sysmacros.h sys/termios.h sys/timeb.h sys/timerfd.h sys/timex.h sys/ttychars.h
sys/ttycom.h sys/ttydefaults.h sys/ucontext.h sys/ucred.h sys/unistd.h sys/user.h sys/vfs.h sys/vlimit.h sys/vm86.h sys/vt.h
sys/xattr.h`

	// Of compilers. <omp.h>, <quadmath.h> and <unwind.h> have libraries of their own.
	compilers = `
arm_acle.h arm_bf16.h arm_fp16.h arm_neon.h arm_sme.h arm_sve.h cpuid.h emmintrin.h immintrin.h intrin.h mm_malloc.h mmintrin.h
nmmintrin.h pmmintrin.h smmintrin.h tmmintrin.h varargs.h wmmintrin.h x86gprintrin.h x86intrin.h xmmintrin.h`

	windows = "conio.h direct.h io.h process.h windows.h winsock2.h ws2tcpip.h"
)
