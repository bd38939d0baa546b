// Arguments: folder of results, and of a project. Prints what the scripts say, and what is there then.
import qupath.lib.scripting.QP

QP.projectFolder = new File(args[1])
def image = { id, name, file, width -> [id: id, name: name, file: "/scans/${file}".toString(), width: width, height: 80, hierarchy: Draw.hierarchy()] }
def known = image('1', 'b01.svs', 'b01.svs', 100)
def renamed = image('2', 'patient 7', 'scan.svs', 100)
def wrongSize = image('3', 'b03', 'x.svs', 90)
def twice = image('4', 'twin.svs', 'twin.svs', 100)
def stranger = image('5', 'other one.svs', 'other.svs', 100)
def failed = image('6', 'b06.svs', 'b06.svs', 100)
QP.entries = [known, renamed, wrongSize, twice, stranger, failed]

def run = { script, it ->
    QP.image = it
    def file = new File(args[0], "qupath/${script}")
    new GroovyShell(this.class.classLoader, new Binding('qupath.script.file': file.path)).evaluate(file)
}
def show = { it ->
    def lines = it.hierarchy.getAllObjects(false).collect {
        def roi = it.getROI()
        "${it.getID().version()} ${it.isDetection() ? 'detection' : 'annotation'} ${it.getPathClass()} ${roi.getCentroidX() as int}"
    }
    println "  ${lines.sort().join(', ')}"
}
def at = { it, x -> it.hierarchy.getAllObjects(false).find { (it.getROI().getCentroidX() as int) == x && it.isAnnotation() } }

QP.entries.each { run('import_all.groovy', it) }
show(known)
println '-- a second time'
run('import_all.groovy', known)
show(known)
println '-- what was changed or drawn stays'
Draw.classify(at(known, 20), 'Region*')  // the first square is accepted: its glands (15, 25) stay, changed or not
Draw.reshape(at(known, 15), [11, 11, 21, 19])
Draw.reshape(at(known, 75), [70, 10, 82, 20])  // a gland of the second square is mended
known.hierarchy.addObjects([Draw.annotation('Gland', [50, 60, 60, 70])])
run('import_all.groovy', known)
show(known)
println '-- pasted'
QP.image = known
new GroovyShell(this.class.classLoader).evaluate(new File(args[0], 'qupath/import_all.groovy').text)
println '-- out'
twice.hierarchy.addObjects([Draw.annotation('Gland', [50, 60, 60, 70])])
stranger.hierarchy.addObjects([Draw.annotation('Region*', [50, 60, 60, 70])])
QP.entries.each { run('export_annotations.groovy', it) }
QP.entries << image('7', 'B01', 'b01.svs', 100)
run('export_annotations.groovy', known)
