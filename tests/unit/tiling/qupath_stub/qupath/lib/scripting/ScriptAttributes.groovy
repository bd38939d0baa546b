package qupath.lib.scripting

class ScriptAttributes {
    static final String FILE_PATH = 'qupath.script.file'
}
