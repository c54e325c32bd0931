import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.zip.ZipEntry;
import java.util.zip.ZipFile;
import java.util.zip.ZipOutputStream;
import org.objectweb.asm.ClassReader;
import org.objectweb.asm.ClassVisitor;
import org.objectweb.asm.ClassWriter;
import org.objectweb.asm.MethodVisitor;
import org.objectweb.asm.Opcodes;

/**
 * IN OUT: gives a jar made from dex what the JVM's verifier asks for and dex has no word for: that a called method is
 * an interface's, and of which type each variable is where branches meet.
 */
class MendJar {
    private final Map<String, ClassReader> classes = new HashMap<>();

    public static void main(String[] arguments) throws Exception {
        new MendJar().mend(Path.of(arguments[0]), Path.of(arguments[1]));
    }

    private void mend(Path in, Path out) throws Exception {
        try (ZipFile jar = new ZipFile(in.toFile())) {
            for (ZipEntry entry : jar.stream().filter(each -> each.getName().endsWith(".class")).toList()) {
                try (InputStream data = jar.getInputStream(entry)) {
                    ClassReader reader = new ClassReader(data);
                    classes.put(reader.getClassName(), reader);
                }
            }
        }
        try (OutputStream file = Files.newOutputStream(out); ZipOutputStream jar = new ZipOutputStream(file)) {
            for (String name : classes.keySet().stream().sorted().toList()) {
                jar.putNextEntry(new ZipEntry(name + ".class"));
                jar.write(mended(classes.get(name)));
            }
        }
    }

    private byte[] mended(ClassReader reader) {
        ClassWriter writer = new ClassWriter(ClassWriter.COMPUTE_FRAMES) {
            @Override
            protected String getCommonSuperClass(String one, String other) {
                List<String> above = superclasses(one);
                return superclasses(other).stream().filter(above::contains).findFirst().orElseThrow();
            }
        };
        reader.accept(new ClassVisitor(Opcodes.ASM9, writer) {
            @Override
            public MethodVisitor visitMethod(int access, String name, String type, String generic, String[] thrown) {
                return new MethodVisitor(Opcodes.ASM9, super.visitMethod(access, name, type, generic, thrown)) {
                    @Override
                    public void visitMethodInsn(int opcode, String owner, String name, String type, boolean declared) {
                        super.visitMethodInsn(opcode, owner, name, type, declared || isInterface(owner));
                    }
                };
            }
        }, ClassReader.SKIP_FRAMES);
        return writer.toByteArray();
    }

    private boolean isInterface(String name) {
        ClassReader own = classes.get(name);
        return own == null ? ofPlatform(name).isInterface() : (own.getAccess() & Opcodes.ACC_INTERFACE) != 0;
    }

    /** A class and what it extends, up to Object; the verifier takes an interface for an Object. */
    private List<String> superclasses(String name) {
        List<String> found = new ArrayList<>();
        for (String next = name; next != null && !isInterface(next); next = superclass(next)) {
            found.add(next);
        }
        if (!found.contains("java/lang/Object")) {
            found.add("java/lang/Object");
        }
        return found;
    }

    private String superclass(String name) {
        ClassReader own = classes.get(name);
        if (own != null) {
            return own.getSuperName();
        }
        Class<?> above = ofPlatform(name).getSuperclass();
        return above == null ? null : above.getName().replace('.', '/');
    }

    private static Class<?> ofPlatform(String name) {
        try {
            return Class.forName(name.replace('/', '.'), false, MendJar.class.getClassLoader());
        } catch (ClassNotFoundException | LinkageError error) { // a class of Android's may stand on what no app sees
            return Object.class;
        }
    }
}
